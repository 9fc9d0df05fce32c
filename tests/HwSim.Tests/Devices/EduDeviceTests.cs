using IommuFd.HwSim;
using IommuFd.HwSim.Devices;
using IommuFd.HwSim.Units;
using Xunit;

namespace HwSim.Tests.Devices;

public sealed class EduDeviceTests : IInterruptSink, IDisposable
{
    private readonly PhysicalMemory _memory = new(new PhysicalMemoryOptions { ArenaBase = 0x100_0000, ArenaSize = 2 << 20 });
    private readonly EduDevice _edu = new() { RequesterId = 0x18 };
    private readonly List<string> _interrupts = [];

    public EduDeviceTests()
    {
        _edu.Unit = new NoIommuUnit(_memory);
        _edu.Interrupts = this;
        _edu.WriteConfig(PciConfigSpace.Command, 2, 6);
    }

    public void Dispose() => _memory.Dispose();

    void IInterruptSink.Message(PciDevice device, int vector, ulong address, uint data) => _interrupts.Add($"msi {vector} {address:x} {data:x}");

    void IInterruptSink.Line(PciDevice device, bool asserted) => _interrupts.Add(asserted ? "line up" : "line down");

    private uint Read(ulong offset) => (uint)_edu.ReadBar(0, offset, 4);

    private void Write(ulong offset, ulong value, int bytes = 4) => _edu.WriteBar(0, offset, bytes, value);

    [Fact]
    public void Identification_and_liveness()
    {
        Assert.Equal(0x11e8_1234u, _edu.ReadConfig(0, 4));
        Assert.Equal(0x0100_00edu, Read(0));
        Write(4, 0x1234_5678);
        Assert.Equal(~0x1234_5678u, Read(4));
    }

    [Fact]
    public void Its_BAR_is_1_MiB_of_memory()
    {
        _edu.WriteConfig(0x10, 4, 0xFFFF_FFFF);
        Assert.Equal(0xFFF0_0000u, _edu.ReadConfig(0x10, 4));
    }

    [Fact]
    public void Nothing_answers_with_memory_decoding_off()
    {
        _edu.WriteConfig(PciConfigSpace.Command, 2, 0);
        Assert.Equal(0xFFFF_FFFFu, Read(0));
    }

    [Theory]
    [InlineData(0x00, 8)]
    [InlineData(0x04, 1)]
    [InlineData(0x80, 2)]
    [InlineData(0x30, 4)]
    public void Accesses_of_another_size_and_other_offsets_read_all_ones(ulong offset, int bytes) =>
        Assert.Equal(bytes == 8 ? ulong.MaxValue : (1UL << (8 * bytes)) - 1, _edu.ReadBar(0, offset, bytes));

    [Fact]
    public void The_factorial_is_seen_to_compute_and_then_to_be_done()
    {
        Write(8, 10);
        Assert.Equal(1u, Read(0x20) & 1);
        Assert.Equal(0u, Read(0x20) & 1);
        Assert.Equal(3628800u, Read(8));
    }

    [Fact]
    public void The_factorial_raises_its_interrupt_when_asked_to()
    {
        Write(0x20, 0x80);
        Write(8, 5);
        Assert.Equal(0x80u, Read(0x20));
        Assert.Equal(1u, Read(0x24));
        Assert.Equal(["line up"], _interrupts);
        Write(0x64, 1);
        Assert.Equal(["line up", "line down"], _interrupts);
    }

    [Fact]
    public void With_MSI_enabled_an_interrupt_is_a_message()
    {
        var msi = (int)_edu.ReadConfig(PciConfigSpace.CapabilityPointer, 1);
        Assert.Equal(5u, _edu.ReadConfig(msi, 1));
        _edu.WriteConfig(msi + 4, 4, 0xFEE0_0000);
        _edu.WriteConfig(msi + 12, 2, 0x51);
        _edu.WriteConfig(msi + 2, 2, 1);
        Write(0x60, 0x10);
        Assert.Equal(["msi 0 fee00000 51"], _interrupts);
        Assert.Equal(0x10u, Read(0x24));
    }

    [Fact]
    public void The_line_stays_down_while_INTx_is_disabled_and_rises_when_enabled()
    {
        _edu.WriteConfig(PciConfigSpace.Command, 2, 0x406);
        Write(0x60, 1);
        Assert.Empty(_interrupts);
        Assert.Equal(8u, _edu.ReadConfig(PciConfigSpace.Status, 2) & 8);
        _edu.WriteConfig(PciConfigSpace.Command, 2, 6);
        Assert.Equal(["line up"], _interrupts);
    }

    [Fact]
    public void DMA_moves_bytes_in_and_out_and_shows_busy_once()
    {
        var from = _memory.Allocate();
        var to = _memory.Allocate();
        for (ulong i = 0; i < 256; i += 8)
            _memory.Write64(from + i, i * 0x0101_0101);
        Write(0x80, from, 8);
        Write(0x88, EduDevice.BufferAddress + 16, 8);
        Write(0x90, 256, 8);
        Write(0x98, 1, 8);
        Assert.Equal(1u, Read(0x98) & 1);
        Assert.Equal(0u, Read(0x98) & 1);
        Write(0x80, EduDevice.BufferAddress + 16);
        Write(0x88, to);
        Write(0x90, 256);
        Write(0x98, 3 | 4);
        Assert.Equal(0u, Read(0x98) & 1);
        Assert.Equal(0x100u, Read(0x24));
        Assert.Equal(["line up"], _interrupts);
        Assert.True(_memory.Read64(to + 248, out var word));
        Assert.Equal(248UL * 0x0101_0101, word);
    }

    [Fact]
    public void The_DMA_mask_cuts_addresses()
    {
        var page = _memory.Allocate();
        _memory.Write64(page, 77);
        Write(0x80, page | (1UL << 40), 8);
        Write(0x88, EduDevice.BufferAddress);
        Write(0x90, 8);
        Write(0x98, 1);
        Assert.Equal(DmaStatus.Success, _edu.LastDma);
        Assert.Single(_edu.Notes);
    }

    [Fact]
    public void A_DMA_that_leaves_the_buffer_moves_nothing()
    {
        Write(0x80, _memory.Allocate());
        Write(0x88, EduDevice.BufferAddress + 4000);
        Write(0x90, 97);
        Write(0x98, 1);
        Assert.NotEqual(DmaStatus.Success, _edu.LastDma);
        Assert.Single(_edu.Notes);
    }

    [Fact]
    public void Without_bus_mastering_no_DMA_is_done()
    {
        _edu.WriteConfig(PciConfigSpace.Command, 2, 2);
        Write(0x80, _memory.Allocate());
        Write(0x88, EduDevice.BufferAddress);
        Write(0x90, 8);
        Write(0x98, 1);
        Assert.Equal(DmaStatus.Fault, _edu.LastDma);
    }

    [Fact]
    public void Reset_clears_registers_and_configuration()
    {
        Write(4, 1);
        Write(0x60, 1);
        _edu.Reset();
        Assert.Equal(["line up", "line down"], _interrupts);
        Assert.Equal(0u, _edu.ReadConfig(PciConfigSpace.Command, 2));
        _edu.WriteConfig(PciConfigSpace.Command, 2, 2);
        Assert.Equal(0u, Read(4));
        Assert.Equal(0u, Read(0x24));
    }
}
