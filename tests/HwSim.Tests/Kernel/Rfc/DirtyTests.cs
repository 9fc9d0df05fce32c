using IommuFd.Native;
using IommuFd.Native.Uapi;
using Xunit;
using static IommuFd.Native.Uapi.Rfc;

namespace HwSim.Tests.Kernel.Rfc;

/// <summary>Dirty tracking of a space, through whatever table devices reach it.</summary>
public sealed unsafe class DirtyTests : IDisposable
{
    private const ulong Page = RfcMachine.Page;
    private readonly RfcMachine _machine = new();
    private readonly int _iommu, _gpa;
    private readonly ulong _memory;

    public DirtyTests()
    {
        _iommu = _machine.OpenIommu();
        _gpa = _machine.Alloc(_iommu);
        _memory = _machine.Memory(64 * Page);
        Assert.Equal(0, _machine.Map(_iommu, _gpa, 0x10_0000, _memory, 64 * Page));
    }

    public void Dispose() => _machine.Dispose();

    [Fact]
    [Trait("rfc", "DIRTY")]
    public void Pages_that_a_device_wrote_are_reported_and_then_clean()
    {
        Assert.Equal(0, _machine.Attach(_machine.OpenBound(RfcMachine.Edu, _iommu, 1), _iommu, _gpa));
        Assert.Equal(-Errno.EINVAL, Bitmap(out _));
        Assert.True(_machine.DmaWrite(RfcMachine.Edu, 0x10_0000, 1));
        Assert.Equal(0, Command(IOMMU_IOASID_DIRTY_START));
        Assert.True(_machine.DmaWrite(RfcMachine.Edu, 0x10_3000, 1));
        Assert.Equal(0UL, _machine.DmaRead(RfcMachine.Edu, 0x10_4000));
        Assert.Equal(0, Bitmap(out ulong dirty, IOMMU_IOASID_DIRTY_NO_CLEAR));
        Assert.Equal(1UL << 3, dirty);
        Assert.Equal(0, Bitmap(out dirty));
        Assert.Equal(1UL << 3, dirty);
        Assert.Equal(0, Bitmap(out dirty));
        Assert.Equal(0UL, dirty);
        Assert.Equal(0, Command(IOMMU_IOASID_DIRTY_STOP));
        Assert.Equal(-Errno.EINVAL, Bitmap(out _));
        Assert.Equal(-Errno.EINVAL, Command(IOMMU_IOASID_DIRTY_START | IOMMU_IOASID_DIRTY_STOP));
    }

    [Fact]
    [Trait("rfc", "DIRTY")]
    public void Writes_through_a_shadow_are_the_roots()
    {
        int device = _machine.OpenBound(RfcMachine.Edu, _iommu, 1), giova = _machine.Alloc(_iommu, _gpa);
        Assert.Equal(0, _machine.Map(_iommu, giova, 0x2000, 0x10_5000, 2 * Page));
        Assert.Equal(0, Command(IOMMU_IOASID_DIRTY_START));
        Assert.Equal(0, _machine.Attach(device, _iommu, giova));
        Assert.True(_machine.DmaWrite(RfcMachine.Edu, 0x3000, 1));
        Assert.Equal(0, Bitmap(out ulong dirty));
        Assert.Equal(1UL << 6, dirty);
    }

    [Fact]
    [Trait("rfc", "DIRTY")]
    public void A_shadow_that_comes_later_is_tracked_and_its_own_stop_does_not_end_the_roots_tracking()
    {
        Assert.Equal(0, Command(IOMMU_IOASID_DIRTY_START));
        int device = _machine.OpenBound(RfcMachine.Edu, _iommu, 1), giova = _machine.Alloc(_iommu, _gpa);
        Assert.Equal(0, _machine.Map(_iommu, giova, 0x2000, 0x10_5000, Page));
        Assert.Equal(0, _machine.Attach(device, _iommu, giova));
        Assert.True(_machine.DmaWrite(RfcMachine.Edu, 0x2000, 1));
        Assert.Equal(0, Command(IOMMU_IOASID_DIRTY_START, giova));
        Assert.Equal(0, Command(IOMMU_IOASID_DIRTY_STOP, giova));
        Assert.Equal(0, Bitmap(out ulong dirty));
        Assert.Equal(1UL << 5, dirty);
    }

    [Fact]
    [Trait("rfc", "DIRTY")]
    public void Writes_below_a_users_table_are_the_roots()
    {
        ulong guest = _machine.Memory(1 << 20);
        var table = new GuestTable(guest, 1 << 20);
        Assert.Equal(0, _machine.Map(_iommu, _gpa, 0x1000_0000, guest, 1 << 20));
        // The table is at guest address 0x10000000: entries to tables lead there.
        table.Map(0x2000, 0x10_7000);
        for (ulong entry = guest + table.Root; entry < guest + table.Root + (3 * Page); entry += 8)
        {
            *(ulong*)entry += *(ulong*)entry == 0 ? 0UL : 0x1000_0000;
        }

        int device = _machine.OpenBound(RfcMachine.Edu, _iommu, 1), giova = _machine.AllocUserTable(_iommu, _gpa, table.Root + 0x1000_0000);
        Assert.Equal(0, _machine.Attach(device, _iommu, giova));
        Assert.Equal(0, Command(IOMMU_IOASID_DIRTY_START));
        Assert.True(_machine.DmaWrite(RfcMachine.Edu, 0x2000, 1));
        Assert.Equal(0, Bitmap(out ulong dirty));
        Assert.Equal(1UL << 7, dirty);
    }

    private int Command(uint flags, int? ioasid = null)
    {
        iommu_ioasid_dirty dirty = new() { argsz = (uint)sizeof(iommu_ioasid_dirty), flags = flags, ioasid = ioasid ?? _gpa };
        return _machine.Ioctl(_iommu, IOMMU_IOASID_DIRTY, ref dirty);
    }

    private int Bitmap(out ulong bits, uint flags = 0)
    {
        ulong word = 0;
        iommu_ioasid_dirty dirty = new()
        {
            argsz = (uint)sizeof(iommu_ioasid_dirty),
            flags = IOMMU_IOASID_DIRTY_GET_BITMAP | flags,
            ioasid = _gpa,
            iova = 0x10_0000,
            size = 64 * Page,
            bitmap = new vfio_bitmap { pgsize = Page, size = 8, data = (ulong)&word },
        };
        int error = _machine.Ioctl(_iommu, IOMMU_IOASID_DIRTY, ref dirty);
        bits = word;
        return error;
    }
}
