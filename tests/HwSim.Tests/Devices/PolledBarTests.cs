using IommuFd.HwSim;
using IommuFd.HwSim.Devices;
using IommuFd.Native;
using Xunit;
using static HwSim.Tests.Devices.IgbMachine;

namespace HwSim.Tests.Devices;

/// <summary>Registers that are mapped: BAR 0 of the 82576 as a program sees it in its memory.</summary>
public sealed unsafe class PolledBarTests : IDisposable
{
    /// <summary>A reserved bit that is shown in EIMS and others, so that writing what they hold is seen.</summary>
    private const uint Mark = 1u << 29;

    private readonly SimulatedHost _host = new(Topology.ByName("intel-mapped"));
    private readonly PciDevice _device;
    private readonly int _descriptor;
    private readonly uint* _registers;

    public PolledBarTests()
    {
        const string device = "/sys/bus/pci/devices/0000:01:00.0";
        _ = _host.Sysfs.WriteText(device + "/driver/unbind", "0000:01:00.0");
        _ = _host.Sysfs.WriteText(device + "/driver_override", "vfio-pci");
        _ = _host.Sysfs.WriteText("/sys/bus/pci/drivers_probe", "0000:01:00.0");
        Assert.True(_host.Sysfs.List(device + "/vfio-dev", out string[] names) > 0);
        IKernel kernel = _host.Kernel;
        _device = _host.Device("0000:01:00.0")!;
        int iommufd = kernel.Open("/dev/iommu", Libc.O_RDWR, 0);
        _descriptor = kernel.Open("/dev/vfio/devices/" + names[0], Libc.O_RDWR, 0);
        IommuFd.Native.Uapi.vfio_device_bind_iommufd bind = new() { argsz = 24, iommufd = iommufd };
        Assert.Equal(0, kernel.Ioctl(_descriptor, IommuFd.Native.Uapi.Vfio.VFIO_DEVICE_BIND_IOMMUFD, (nint)(&bind)));
        nint address = kernel.Mmap(0, 0x20000, Libc.PROT_READ | Libc.PROT_WRITE, Libc.MAP_SHARED, _descriptor, 0);
        Assert.True(address is > 0 or < -4095);
        _registers = (uint*)address;
    }

    public void Dispose()
    {
        _ = _host.Kernel.Munmap((nint)_registers, 0x20000);
        _ = _host.Kernel.Close(_descriptor);
        _host.Dispose();
    }

    private ref uint this[uint offset] => ref _registers[offset / 4];

    private void Becomes(uint expected, uint offset)
    {
        Assert.True(SpinWait.SpinUntil(() => Volatile.Read(ref this[offset]) == expected, 10_000),
            $"0x{offset:x} is 0x{this[offset]:x}, not 0x{expected:x}");
    }

    [Fact]
    public void The_registers_are_in_memory()
    {
        Assert.Equal(0x1200_5452u, this[0x5400]);
        Assert.Equal((uint)_device.ReadBar(0, 8, 4), this[8]);
    }

    [Fact]
    public void What_is_written_reaches_the_device_and_its_answer_comes_back()
    {
        this[0x14] = 0x3f << 2 | 1; // the last word of the EEPROM's checksum
        Assert.True(SpinWait.SpinUntil(() => (Volatile.Read(ref this[0x14]) & 2) != 0, 10_000));
        Assert.Equal((uint)_device.ReadBar(0, 0x14, 4), this[0x14]);
        this[0] |= 1u << 26;
        Becomes(0x41, 0);
    }

    [Fact]
    public void A_register_has_the_same_value_at_both_of_its_addresses()
    {
        this[0x2800] = 0x1234_5680;
        Becomes(0x1234_5680, 0xc000);
    }

    [Fact]
    public void An_access_through_the_kernel_comes_after_what_was_written_before()
    {
        this[0x1524] = 5;
        Assert.Equal(5ul, _device.ReadBar(0, 0x1524, 4));
        _device.WriteBar(0, 0x1528, 4, 1);
        Assert.Equal(4u | Mark, Volatile.Read(ref this[0x1524]));
    }

    [Fact]
    public void Reset_shows_the_reset_values()
    {
        this[0x1524] = 5;
        Assert.Equal(0, _host.Kernel.Ioctl(_descriptor, IommuFd.Native.Uapi.Vfio.VFIO_DEVICE_RESET, 0));
        Assert.Equal(Mark, Volatile.Read(ref this[0x1524]));
    }

    [Fact]
    public void Whoever_an_interrupt_wakes_finds_the_registers_as_they_are()
    {
        uint seen = ~0u;
        _device.Interrupts = new Sink(() => seen = Volatile.Read(ref this[0x1524]));
        EnableMsix(_device);
        this[0x1514] = 0x4000_0010;
        this[0x1530] = 1;
        this[0x1524] = 1;
        this[0x1520] = 1;
        Assert.True(SpinWait.SpinUntil(() => Volatile.Read(ref seen) != ~0u, 10_000));
        Assert.Equal(Mark, seen);
    }

    [Fact]
    public void Reading_has_no_effect_and_writing_what_can_be_read_is_not_seen()
    {
        _device.WriteBar(0, 0x1504, 4, 4);
        Assert.Equal(4u, Volatile.Read(ref this[0x1500]));
        Assert.Equal(4u, Volatile.Read(ref this[0x1500]));
        this[0x1500] = 4;
        Assert.Equal(4ul, _device.ReadBar(0, 0x1500, 4));
    }

    [Fact]
    public void Masks_set_to_what_they_were_are_seen_and_unmasking_comes_after_masking()
    {
        this[0x1508] = 4;
        Becomes(4u | Mark, 0x1508);
        for (int i = 0; i < 100; i++)
        {
            this[0x150c] = ~0u;
            this[0x1508] = 4;
        }

        Assert.Equal(4ul, _device.ReadBar(0, 0x1508, 4));
    }

    [Fact]
    public void ICR_counts_as_read_when_interrupts_are_masked_and_unmasked()
    {
        this[0x1508] = 4;
        this[0x1504] = 4;
        Becomes(0x8000_0004, 0x1500);
        this[0x150c] = ~0u;
        this[0x1508] = 4;
        Becomes(0, 0x1500);
    }

    [Theory]
    [InlineData("""{ "index": 1, "size": 131072, "mmap": "polled" }""", "BAR 1 cannot be polled")]
    [InlineData("""{ "index": 0, "size": 131072, "mmap": "direct" }""", "'mmap' is 'direct'")]
    public void A_BAR_that_cannot_be_polled_is_refused(string bar, string sentence) => Assert.Contains(
        sentence,
        Assert.Throws<TopologyException>(() => new SimulatedHost(Topology.Parse($$"""
            { "name": "x", "functions": [{ "address": "00:01.0", "model": "igb", "configSize": 4096, "bars": [{{bar}}] }] }
            """))).Message,
        StringComparison.Ordinal);

    private sealed class Sink(Action message) : IInterruptSink
    {
        public void Message(PciDevice device, int vector, ulong address, uint data) => message();

        public void Line(PciDevice device, bool asserted)
        {
        }
    }
}
