using IommuFd.HwSim;
using IommuFd.Native;
using IommuFd.Sysfs;

namespace IommuFd.Tests;

/// <summary>
/// Features of PCI devices through the library: a peer's BAR, low power, the token of virtual functions, a register behind an eventfd.
/// </summary>
public sealed class DeviceFeatureTests : IDisposable
{
    private const string WithMemory = """
        { "name": "memory", "extends": "intel", "functions": [ { "address": "0000:00:09.0", "id": "1234:1111", "class": "ff0000",
          "bars": [{ "index": 0, "kind": "prefetchable32", "size": "0x100000", "memory": true }] } ] }
        """;

    private static readonly PciAddress Memory = PciAddress.Parse("0000:00:09.0"), Nic = PciAddress.Parse("0000:01:00.0"),
        FirstVirtual = PciAddress.Parse("0000:01:10.0");
    private readonly SimulatedHost _machine = new(Topology.Parse(WithMemory));
    private readonly IommuHost _host;
    private readonly IommuContext _context;
    private readonly DriverBinder _binder;

    public DeviceFeatureTests()
    {
        _host = IommuHost.Over(_machine);
        _binder = new DriverBinder(_machine.Sysfs, new MemoryBindingStore());
        _context = _host.OpenContext();
    }

    public void Dispose()
    {
        _context.Dispose();
        _host.Dispose();
        _machine.Dispose();
    }

    [Fact]
    public void A_peer_reaches_a_BAR_that_is_mapped_as_a_dma_buf_until_its_decoding_goes_off()
    {
        using BoundDevice memory = Open(Memory, 1), edu = Open(Simulated.Edu, 2);
        using IoAddressSpace space = _context.CreateAddressSpace();
        using Attachment attachment = edu.Attach(space);
        using Bar bar = memory.OpenBar(0);
        using FileMapping mapping = space.MapBar(memory, 0, new RegionArea(0x10000, 0x2000), DmaAccess.ReadWrite);
        Assert.Equal(0x2000u, mapping.Length);
        using DmaBuffer buffer = _host.AllocateBuffer(4096);
        using Mapping ours = space.Map(buffer, DmaAccess.ReadWrite);
        using Bar engine = edu.OpenBar(0);
        using ConfigSpace config = edu.OpenConfigSpace();
        config.EnableBusMaster();

        buffer.At<ulong>(0) = 0x1122334455667788;
        Dma(engine, ours.Iova, 0x40000, 1);
        Dma(engine, 0x40000, mapping.Iova + 0x1008, 3);
        Assert.Equal(0x1122334455667788ul, bar.Read64(0x11008));

        using ConfigSpace decoding = memory.OpenConfigSpace();
        decoding.Command &= 0xfffd;
        Dma(engine, 0x40000, mapping.Iova, 3);
        decoding.Command |= 2;
        Assert.Equal(0ul, bar.Read64(0x10000));
    }

    [Fact]
    public void Low_power_is_entered_once_and_left()
    {
        using BoundDevice edu = Open(Simulated.Edu, 1);
        edu.Calls.EnterLowPower();
        Assert.Equal(Errno.EINVAL, Assert.Throws<IommuFdException>(() => edu.Calls.EnterLowPower()).Errno);
        edu.Calls.ExitLowPower();
        int eventFd = _machine.Kernel.EventFd(0, Libc.EFD_CLOEXEC);
        edu.Calls.EnterLowPower(eventFd);
        edu.Calls.ExitLowPower();
        Assert.Equal(0, _machine.Kernel.Close(eventFd));
    }

    [Fact]
    public void A_virtual_function_of_a_physical_one_in_user_hands_needs_its_token()
    {
        Assert.True(_machine.Sysfs.WriteText("/sys/module/vfio_pci/parameters/enable_sriov", "Y") >= 0);
        using BoundDevice physical = Open(Nic, 1);
        Guid token = Guid.NewGuid();
        physical.Calls.SetVfToken(token);
        Assert.True(_machine.Sysfs.WriteText($"{PciBus.DevicePath(Nic)}/sriov_numvfs", "1") >= 0);
        using VfioDeviceFile file = _host.OpenDevice(FirstVirtual);
        IommuFdException refused = Assert.Throws<IommuFdException>(() => file.Bind(_context, cookie: 2));
        Assert.Equal(FailureCause.WrongVfToken, refused.Cause);
        Assert.Equal(FailureCause.WrongVfToken, Assert.Throws<IommuFdException>(() => file.Bind(_context, cookie: 2, Guid.NewGuid())).Cause);
        using (BoundDevice one = file.Bind(_context, cookie: 2, token))
        using (ConfigSpace config = one.OpenConfigSpace())
        {
            Assert.Equal((0x8086, 0x10ca), (config.VendorId, config.DeviceId));
        }

        Assert.Equal(FailureCause.NotSupported, Assert.Throws<IommuFdException>(() => Open(Simulated.Edu, 3).Calls.SetVfToken(token)).Cause);
    }

    [Fact]
    public unsafe void A_signal_of_an_eventfd_becomes_a_register_write()
    {
        using BoundDevice edu = Open(Simulated.Edu, 1);
        using Bar bar = edu.OpenBar(0);
        int eventFd = _machine.Kernel.EventFd(0, Libc.EFD_CLOEXEC | Libc.EFD_NONBLOCK);
        edu.Calls.SetIoEventFd(bar.Info.Offset + 4, 4, 0x12345678, eventFd);
        ulong one = 1;
        Assert.Equal(8, _machine.Kernel.Write(eventFd, (nint)(&one), 8)); // SAFETY: eight bytes on the stack
        for (long end = Environment.TickCount64 + 10_000; bar.Read32(4) != ~0x12345678u && Environment.TickCount64 < end;)
        {
            Thread.Sleep(1);
        }

        Assert.Equal(~0x12345678u, bar.Read32(4));
        edu.Calls.SetIoEventFd(bar.Info.Offset + 4, 4, 0x12345678, -1);
        Assert.Equal(0, _machine.Kernel.Close(eventFd));
    }

    private BoundDevice Open(PciAddress address, ulong cookie)
    {
        Assert.Null(_binder.Apply(_binder.PlanBind([address], DriverClaim.VfioPci)));
        return _host.OpenDevice(address).Bind(_context, cookie);
    }

    private static void Dma(Bar edu, ulong source, ulong destination, ulong command)
    {
        edu.Write64(0x80, source);
        edu.Write64(0x88, destination);
        edu.Write64(0x90, 8);
        edu.Write64(0x98, command);
        while ((edu.Read64(0x98) & 1) != 0)
        {
            Thread.Yield();
        }
    }
}
