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

    [Fact]
    [Trait("rfc", "UNMAP")]
    [Trait("rfc", "DIRTY")]
    public void Unmap_with_a_bitmap_reports_the_pages_that_were_written_until_then()
    {
        int device = _machine.OpenBound(RfcMachine.Edu, _iommu, 1), giova = _machine.Alloc(_iommu, _gpa);
        Assert.Equal(0, _machine.Map(_iommu, giova, 0x2000, 0x10_5000, 2 * Page));
        Assert.Equal(0, _machine.Attach(device, _iommu, _gpa));
        Assert.Equal(-Errno.EINVAL, UnmapWithBitmap(out _)); // nothing is tracked
        Assert.Equal(0, Command(IOMMU_IOASID_DIRTY_START));
        Assert.True(_machine.DmaWrite(RfcMachine.Edu, 0x10_3000, 1));
        Assert.Equal(0, _machine.Attach(device, _iommu, giova));
        Assert.True(_machine.DmaWrite(RfcMachine.Edu, 0x3000, 1));

        // What is refused leaves everything as it was.
        Assert.Equal(-Errno.EINVAL, UnmapWithBitmap(out _, flags: Vfio.VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP | Vfio.VFIO_DMA_UNMAP_FLAG_ALL));
        Assert.Equal(-Errno.EINVAL, UnmapWithBitmap(out _, pages: 32));
        Assert.Equal(-Errno.EINVAL, UnmapWithBitmap(out _, bitmapBytes: 0));
        Assert.Equal(-Errno.EINVAL, UnmapWithBitmap(out _, pageSize: 0x1800));
        Assert.Equal(-Errno.EINVAL, UnmapWithBitmap(out _, cut: 1));
        Assert.Equal((long)(64 * Page), UnmapWithBitmap(out ulong dirty));
        Assert.Equal((1UL << 3) | (1UL << 6), dirty);
        Assert.Equal(0L, UnmapWithBitmap(out dirty));
        Assert.Equal(0UL, dirty);
    }

    [Fact]
    [Trait("rfc", "UNMAP")]
    public void A_childs_unmap_has_the_bitmap_of_its_own_addresses()
    {
        int device = _machine.OpenBound(RfcMachine.Edu, _iommu, 1), giova = _machine.Alloc(_iommu, _gpa);
        Assert.Equal(0, _machine.Map(_iommu, giova, 0x10_0000, 0x10_5000, 2 * Page));
        Assert.Equal(0, Command(IOMMU_IOASID_DIRTY_START, giova));
        Assert.Equal(0, _machine.Attach(device, _iommu, giova));
        Assert.True(_machine.DmaWrite(RfcMachine.Edu, 0x10_1000, 1));
        Assert.Equal((long)(2 * Page), UnmapWithBitmap(out ulong dirty, ioasid: giova));
        Assert.Equal(1UL << 1, dirty);
    }

    private long UnmapWithBitmap(
        out ulong bits, uint flags = Vfio.VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP, ulong pages = 64, ulong pageSize = Page, ulong bitmapBytes = 8,
        uint cut = 0, int? ioasid = null)
    {
        ulong word = 0;
        byte* bytes = stackalloc byte[128];
        int whole = sizeof(iommu_ioasid_dma_unmap) + sizeof(vfio_bitmap);
        var unmap = (iommu_ioasid_dma_unmap*)bytes;
        *unmap = new iommu_ioasid_dma_unmap
        {
            op = new iommu_ioasid_dma_op { argsz = (uint)whole - cut, ioasid = ioasid ?? _gpa },
            unmap = new vfio_iommu_type1_dma_unmap { argsz = (uint)(sizeof(vfio_iommu_type1_dma_unmap) + sizeof(vfio_bitmap)), flags = flags,
                iova = 0x10_0000, size = pages * Page },
        };
        *(vfio_bitmap*)(bytes + sizeof(iommu_ioasid_dma_unmap)) = new vfio_bitmap { pgsize = pageSize, size = bitmapBytes, data = (ulong)&word };
        int error = _machine.Kernel.Ioctl(_iommu, IOMMU_UNMAP_DMA, (nint)bytes);
        bits = word;
        return error < 0 ? error : (long)unmap->unmap.size;
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
