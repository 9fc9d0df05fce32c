using IommuFd.HwSim;
using IommuFd.HwSim.Devices;
using IommuFd.HwSim.Devices.Nvme;
using IommuFd.HwSim.Units;
using Xunit;

namespace HwSim.Tests.Devices;

/// <summary>The controller against NVM Express 1.4, with the admin queue at 16 MiB and data behind it.</summary>
public sealed partial class NvmeControllerTests : IDisposable
{
    private const ulong Submission = 0x100_0000, Completion = 0x100_1000, Data = 0x100_4000;
    private readonly PhysicalMemory _memory = new(new PhysicalMemoryOptions { ArenaBase = 0x100_0000, ArenaSize = 2 << 20 });
    private readonly NvmeController _nvme = new() { RequesterId = 0x28 };
    private uint _tail;

    public NvmeControllerTests()
    {
        _nvme.Unit = new NoIommuUnit(_memory);
        _nvme.WriteConfig(PciConfigSpace.Command, 2, 6);
        Write(0x24, 0x001f_001f);
        Write(0x28, Submission, 8);
        Write(0x30, Completion, 8);
    }

    public void Dispose()
    {
        _nvme.Dispose();
        _memory.Dispose();
    }

    private uint Read(ulong offset) => (uint)_nvme.ReadBar(0, offset, 4);

    private void Write(ulong offset, ulong value, int bytes = 4) => _nvme.WriteBar(0, offset, bytes, value);

    private void Enable() => Write(0x14, 0x0046_0001);

    // Executes an admin command; the status with its type.
    private unsafe uint Admin(byte opcode, uint dw10 = 0, uint dw11 = 0, uint space = 0, ulong prp1 = Data, ulong prp2 = 0)
    {
        uint* entry = stackalloc uint[16];
        new Span<uint>(entry, 16).Clear();
        entry[0] = opcode | 0x77_0000u;
        entry[1] = space;
        *(ulong*)(entry + 6) = prp1;
        *(ulong*)(entry + 8) = prp2;
        entry[10] = dw10;
        entry[11] = dw11;
        NoIommuUnit bus = new(_memory);
        // SAFETY: 64 bytes in, 16 bytes out, both on this stack.
        Assert.Equal(DmaStatus.Success, bus.Write(0, DmaRequest.NoPasid, Submission + (64 * _tail), entry, 64));
        Write(0x1000, _tail + 1);
        Assert.Equal(DmaStatus.Success, bus.Read(0, DmaRequest.NoPasid, Completion + (16 * _tail), entry, 16));
        Write(0x1004, ++_tail);
        Assert.Equal(0x77u, entry[3] & 0xffff);
        Assert.Equal(1u, entry[3] >> 16 & 1);
        return entry[3] >> 17 & 0x7ff;
    }

    [Fact]
    public void Version_is_1_4_and_pages_of_4_KiB_are_supported()
    {
        Assert.Equal(0x0001_0400u, Read(8));
        Assert.Equal(0u, Read(4) >> 16 & 15);
    }

    [Fact]
    public void Ready_follows_enable()
    {
        Assert.Equal(0u, Read(0x1c));
        Enable();
        Assert.Equal(1u, Read(0x1c));
        Write(0x14, 0);
        Assert.Equal(0u, Read(0x1c));
    }

    [Fact]
    public void Enabling_without_an_admin_queue_is_a_fatal_status()
    {
        Write(0x24, 0);
        Enable();
        Assert.Equal(2u, Read(0x1c));
    }

    [Fact]
    public void Interrupt_mask_is_set_and_cleared_bit_by_bit()
    {
        Write(0x0c, 0x5);
        Write(0x10, 0x1);
        Assert.Equal(4u, Read(0x0c));
    }

    [Theory]
    [InlineData(0x06, 1u, 0u, 0u, 0x000u)] // identify controller
    [InlineData(0x06, 0u, 0u, 1u, 0x000u)] // identify namespace
    [InlineData(0x06, 0u, 0u, 2u, 0x00bu)] // invalid namespace
    [InlineData(0x06, 0x55u, 0u, 0u, 0x002u)] // invalid field
    [InlineData(0x7f, 0u, 0u, 0u, 0x001u)] // invalid opcode
    [InlineData(0x05, 0x000f_0000u, 1u, 0u, 0x101u)] // completion queue 0
    [InlineData(0x05, 0x0000_0001u, 1u, 0u, 0x102u)] // one entry
    [InlineData(0x05, 0x000f_0001u, 0x0041_0003u, 0u, 0x108u)] // vector 65
    [InlineData(0x05, 0x000f_0001u, 1u, 0u, 0x000u)]
    [InlineData(0x01, 0x000f_0001u, 0x0001_0001u, 0u, 0x100u)] // its completion queue is missing
    [InlineData(0x04, 1u, 0u, 0u, 0x101u)]
    [InlineData(0x02, 0x000f_0077u, 0u, 0u, 0x109u)] // log page
    [InlineData(0x09, 0x8000_0004u, 0u, 0u, 0x10du)] // save
    public void Status_of_an_admin_command(byte opcode, uint dw10, uint dw11, uint space, uint status)
    {
        Enable();
        Assert.Equal(status, Admin(opcode, dw10, dw11, space));
    }

    [Fact]
    public void A_completion_queue_in_use_cannot_be_deleted()
    {
        Enable();
        Assert.Equal(0u, Admin(0x05, 0x000f_0001, 1));
        Assert.Equal(0u, Admin(0x01, 0x000f_0001, 0x0001_0001));
        Assert.Equal(0x10cu, Admin(0x04, 1));
        Assert.Equal(0u, Admin(0x00, 1));
        Assert.Equal(0u, Admin(0x04, 1));
    }

    [Fact]
    public void A_PRP_that_is_not_aligned_to_4_bytes_is_Invalid_PRP_Offset()
    {
        Enable();
        Assert.Equal(0x13u, Admin(0x06, 1, prp1: Data + 2));
    }

    [Fact]
    public void Data_that_cannot_be_moved_is_Data_Transfer_Error()
    {
        Enable();
        Assert.Equal(4u, Admin(0x06, 1, prp1: 0xf_0000_0000));
    }

    [Fact]
    public void A_reset_disables_the_controller()
    {
        Enable();
        _nvme.Reset();
        _nvme.WriteConfig(PciConfigSpace.Command, 2, 6);
        Assert.Equal(0u, Read(0x14));
        Assert.Equal(0u, Read(0x1c));
    }
}
