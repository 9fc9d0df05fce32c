using IommuFd.Native;
using IommuFd.Sysfs;

namespace IommuFd.Tests;

/// <summary>Descriptors that travel, and configuration space as it is walked.</summary>
public sealed class HandoverTests : IDisposable
{
    private readonly Simulated _machine = new();

    public void Dispose() => _machine.Dispose();

    [Fact]
    public void A_bound_device_and_its_context_can_be_received_and_used_after_the_sender_is_gone()
    {
        (DescriptorChannel here, DescriptorChannel there) = DescriptorChannel.CreatePair(_machine.Host);
        using (here)
        using (there)
        {
            IommuContext sent = _machine.Host.OpenContext();
            BoundDevice device = _machine.Host.OpenDevice(Simulated.Edu).Bind(sent, cookie: 5);
            here.Send([(byte)device.DeviceId], sent, device);
            byte[] payload = new byte[8];
            int[] descriptors = new int[4];
            Assert.Equal(1, there.Receive(payload, descriptors, out int count));
            Assert.Equal(2, count);
            device.Dispose();
            sent.Dispose();

            using IommuContext context = IommuContext.Adopt(_machine.Host, descriptors[0]);
            using BoundDevice adopted = VfioDeviceFile.AdoptBound(context, descriptors[1], payload[0], cookie: 5, Simulated.Edu);
            using IoAddressSpace space = context.CreateAddressSpace();
            using Attachment attachment = adopted.Attach(space);
            using Bar bar = adopted.OpenBar(0);
            Assert.Equal(0x010000edu, bar.Read32(0));
        }
    }

    [Fact]
    public void What_has_no_descriptor_is_not_sent()
    {
        (DescriptorChannel here, DescriptorChannel there) = DescriptorChannel.CreatePair(_machine.Host);
        using IommuContext context = _machine.Host.OpenContext();
        using IoAddressSpace space = context.CreateAddressSpace();
        Assert.Throws<ArgumentException>(() => here.Send([1], space));
        there.Dispose();
        here.Dispose();
    }

    [Fact]
    public void Capabilities_of_the_live_device_are_those_of_sysfs()
    {
        using IommuContext context = _machine.Host.OpenContext();
        using BoundDevice device = _machine.Host.OpenDevice(Simulated.Edu).Bind(context, cookie: 1);
        using ConfigSpace config = device.OpenConfigSpace();
        Assert.Equal((0x1234, 0x11e8), (config.VendorId, config.DeviceId));
        Assert.Equal(PciConfigSpace.Read(_machine.Host.Sysfs, Simulated.Edu)!.Capabilities, config.ReadCapabilities());
        Assert.NotNull(config.FindCapability(5));
        Assert.Null(config.FindCapability(0x10));
        config.EnableBusMaster();
        Assert.Equal(4, config.Command & 4);
        Assert.Throws<ArgumentException>(() => config.Read32(config.Size));
    }

    [Fact]
    public void A_request_interrupt_can_be_waited_for()
    {
        using IommuContext context = _machine.Host.OpenContext();
        using BoundDevice device = _machine.Host.OpenDevice(Simulated.Edu).Bind(context, cookie: 1);
        using InterruptSet request = device.EnableInterrupts(InterruptKind.Request);
        request[0].Trigger();
        Assert.Equal(1u, request[0].Wait(TimeSpan.FromSeconds(5)));
    }
}
