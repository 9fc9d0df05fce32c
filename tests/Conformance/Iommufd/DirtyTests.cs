using IommuFd.Native.Uapi;
using Xunit;
using static Conformance.Iommu.IommufdCalls;
using static IommuFd.HwSim.Kernel.iommu_test_cmd;
using static IommuFd.Native.Errno;

namespace Conformance.Iommu;

/// <summary>Dirty tracking.</summary>
public sealed class DirtyTests : IDisposable
{
    private const uint Tracking = (uint)iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_DIRTY_TRACKING;
    private const uint NoClear = (uint)iommufd_hwpt_get_dirty_bitmap_flags.IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR;
    private const int Count = 32;

    private readonly IommufdCalls _c = new();

    public void Dispose() => _c.Dispose();

    [Fact]
    public void A_table_without_the_flag_cannot_track()
    {
        uint ioas = _c.IoasAlloc();
        Mock mock = _c.MockDomain(ioas);
        Fails(EOPNOTSUPP, _c.SetDirtyTracking(mock.Hwpt, true));
        Fails(EOPNOTSUPP, _c.GetDirty(mock.Hwpt, MockBase, Page, Page, new byte[8]));
        Fails(ENOENT, _c.SetDirtyTracking(ioas, true));
        Fails(ENOENT, _c.GetDirty(99, MockBase, Page, Page, new byte[8]));
        var cmd = new iommu_hwpt_set_dirty_tracking { hwpt_id = mock.Hwpt, flags = 2 };
        Fails(EOPNOTSUPP, _c.Call(IommuFd.Native.Uapi.Iommufd.IOMMU_HWPT_SET_DIRTY_TRACKING, ref cmd));
    }

    [Fact]
    public void Written_pages_are_reported_once()
    {
        uint hwpt = Small(out _);
        byte[] bits = [0b0101_0101, 0, 0xff, 0x80];
        Ok(_c.MakeDirty(hwpt, MockBase, Count * Page, Page, bits, out ulong made));
        Assert.Equal(13ul, made);
        byte[] read = new byte[4];
        Ok(_c.GetDirty(hwpt, MockBase, Count * Page, Page, read, NoClear));
        Assert.Equal(bits, read);
        read = new byte[4];
        Ok(_c.GetDirty(hwpt, MockBase, Count * Page, Page, read));
        Assert.Equal(bits, read);
        read = new byte[4];
        Ok(_c.GetDirty(hwpt, MockBase, Count * Page, Page, read));
        Assert.Equal(new byte[4], read);
    }

    [Fact]
    public void Bits_that_are_set_stay_set()
    {
        uint hwpt = Small(out _);
        byte[] read = [0xf0, 1, 2, 3];
        Ok(_c.MakeDirty(hwpt, MockBase, Count * Page, Page, [1, 0, 0, 0], out _));
        Ok(_c.GetDirty(hwpt, MockBase, Count * Page, Page, read));
        Assert.Equal([0xf1, 1, 2, 3], read);
    }

    [Fact]
    public void A_bit_can_stand_for_more_or_less_than_a_page()
    {
        uint hwpt = Small(out _);
        Ok(_c.MakeDirty(hwpt, MockBase, Count * Page, Page, [2, 0, 0, 0x80], out _));
        byte[] read = new byte[8];
        Ok(_c.GetDirty(hwpt, MockBase, Count * Page, MOCK_PAGE_SIZE, read, NoClear));
        Assert.Equal([0b1100, 0, 0, 0, 0, 0, 0, 0b1100_0000], read);
        read = new byte[4];
        Ok(_c.GetDirty(hwpt, MockBase, Count * Page, 4 * Page, read, NoClear));
        Assert.Equal([0b1000_0001, 0, 0, 0], read);
        read = new byte[4];
        Ok(_c.GetDirty(hwpt, MockBase + Page, Page, Page, read, NoClear));
        Assert.Equal([1, 0, 0, 0], read);
    }

    [Fact]
    public void Switching_tracking_on_starts_clean()
    {
        uint hwpt = Small(out _);
        Ok(_c.MakeDirty(hwpt, MockBase, Count * Page, Page, [1, 0, 0, 0], out _));
        Ok(_c.SetDirtyTracking(hwpt, false));
        Fails(EINVAL, _c.MakeDirty(hwpt, MockBase, Count * Page, Page, [1, 0, 0, 0], out _));
        Ok(_c.SetDirtyTracking(hwpt, true));
        byte[] read = new byte[4];
        Ok(_c.GetDirty(hwpt, MockBase, Count * Page, Page, read));
        Assert.Equal(new byte[4], read);
        Ok(_c.SetDirtyTracking(hwpt, true));
    }

    [Fact]
    public void A_gap_ends_the_report_without_an_error()
    {
        uint hwpt = Small(out uint ioas);
        ulong second = MockBase + ((Count + 1) * Page);
        Ok(_c.Map(ioas, (ulong)_c.Host.Pages(2), 2 * Page, second));
        Ok(_c.MakeDirty(hwpt, MockBase, 64 * Page, Page, [1, 0, 0, 0x80, 2, 0, 0, 0], out _));
        byte[] read = new byte[8];
        Ok(_c.GetDirty(hwpt, MockBase, 64 * Page, Page, read, NoClear));
        Assert.Equal([1, 0, 0, 0x80, 0, 0, 0, 0], read);
        read = new byte[8];
        Ok(_c.GetDirty(hwpt, second, 2 * Page, Page, read));
        Assert.Equal([1, 0, 0, 0, 0, 0, 0, 0], read);
        Ok(_c.GetDirty(hwpt, MockBase + (40 * Page), Page, Page, read));
    }

    [Theory]
    [InlineData(MockBase, 0ul, Page, EINVAL)]
    [InlineData(MockBase + 1, Page, Page, EINVAL)]
    [InlineData(MockBase, Page + 1, Page, EINVAL)]
    [InlineData(MockBase, Page, 0ul, EINVAL)]
    [InlineData(MockBase + Page, Page, 2 * Page, EINVAL)]
    [InlineData(MockBase, Page, 2 * Page, EINVAL)]
    [InlineData(MockBase, MOCK_PAGE_SIZE, MOCK_PAGE_SIZE, EINVAL)]
    [InlineData(MockBase, Page, MOCK_PAGE_SIZE, 0)]
    [InlineData(MockBase, Page, 1ul, 0)]
    [InlineData(ulong.MaxValue - Page + 1, 2 * Page, Page, EOVERFLOW)]
    [InlineData(ulong.MaxValue - Page + 1, Page, Page, 0)]
    [InlineData(MockBase, Count * Page, Page, 0)]
    public void Ranges_of_a_bitmap(ulong iova, ulong length, ulong pageSize, int errno)
    {
        uint hwpt = Small(out _);
        Assert.Equal(-errno, _c.GetDirty(hwpt, iova, length, pageSize, new byte[1024]));
    }

    [Fact]
    public void Flags_and_the_reserved_field_of_get_dirty()
    {
        uint hwpt = Small(out _);
        Fails(EOPNOTSUPP, _c.GetDirty(hwpt, MockBase, Page, Page, new byte[8], 2));
        var cmd = new iommu_hwpt_get_dirty_bitmap { hwpt_id = hwpt, __reserved = 1 };
        Fails(EOPNOTSUPP, _c.Call(IommuFd.Native.Uapi.Iommufd.IOMMU_HWPT_GET_DIRTY_BITMAP, ref cmd));
    }

    [Fact]
    public void A_bitmap_that_cannot_be_written_is_no_error()
    {
        uint hwpt = Small(out _);
        Ok(_c.MakeDirty(hwpt, MockBase, Count * Page, Page, [1, 0, 0, 0], out _));
        var cmd = new iommu_hwpt_get_dirty_bitmap { hwpt_id = hwpt, iova = MockBase, length = Count * Page, page_size = Page, data = 0x1000 };
        Ok(_c.Call(IommuFd.Native.Uapi.Iommufd.IOMMU_HWPT_GET_DIRTY_BITMAP, ref cmd));
    }

    [Fact]
    public void Unmapped_pages_are_forgotten()
    {
        uint hwpt = Small(out uint ioas);
        Ok(_c.MakeDirty(hwpt, MockBase, Count * Page, Page, [0xff, 0, 0, 0], out _));
        Ok(_c.Unmap(ioas, MockBase, Count * Page));
        Ok(_c.Map(ioas, (ulong)_c.Host.Pages(Count), Count * Page, MockBase));
        byte[] read = new byte[4];
        Ok(_c.GetDirty(hwpt, MockBase, Count * Page, Page, read));
        Assert.Equal(new byte[4], read);
    }

    // A table that tracks, with 32 pages mapped one by one.
    private uint Small(out uint ioas)
    {
        ioas = _c.IoasAlloc();
        Ok(_c.SetHugePages(ioas, 0));
        Mock mock = _c.MockDomain(ioas);
        Ok(_c.Map(ioas, (ulong)_c.Host.Pages(Count), Count * Page, MockBase));
        uint hwpt = _c.HwptAlloc(mock.Idev, ioas, Tracking);
        Ok(_c.SetDirtyTracking(hwpt, true));
        return hwpt;
    }
}
