using IommuFd.HwSim.Kernel;
using IommuFd.Native.Uapi;
using Xunit;
using static Conformance.Iommu.IommufdCalls;
using static IommuFd.HwSim.Kernel.iommu_test_cmd;
using static IommuFd.Native.Errno;

namespace Conformance.Iommu;

/// <summary>Address spaces without a device, and with a mock one: areas, overlaps, alignment, ranges.</summary>
public sealed class IoasTests : IDisposable
{
    private readonly IommufdCalls _c = new();

    public void Dispose() => _c.Dispose();

    [Fact]
    public void Ids_count_from_1_and_the_lowest_free_one_is_given_again()
    {
        Assert.Equal((1u, 2u, 3u), (_c.IoasAlloc(), _c.IoasAlloc(), _c.IoasAlloc()));
        Ok(_c.Destroy(2));
        Assert.Equal((2u, 4u), (_c.IoasAlloc(), _c.IoasAlloc()));
    }

    [Fact]
    public void Destroy_of_an_unknown_id_is_ENOENT()
    {
        Fails(ENOENT, _c.Destroy(0));
        Fails(ENOENT, _c.Destroy(1));
        Fails(ENOENT, _c.Destroy(uint.MaxValue));
    }

    [Fact]
    public void Alloc_with_flags_is_EOPNOTSUPP()
    {
        var cmd = new iommu_ioas_alloc { flags = 1 };
        Fails(EOPNOTSUPP, _c.Call(Iommufd.IOMMU_IOAS_ALLOC, ref cmd));
        Assert.Equal(1u, _c.IoasAlloc());
    }

    [Fact]
    public void Commands_on_an_id_of_another_type_are_ENOENT()
    {
        Ok(_c.FaultAlloc(out uint fault, out _));
        Fails(ENOENT, _c.Map(fault, 0x10000, Page, 0));
        Fails(ENOENT, _c.Unmap(fault, 0, Page));
        Fails(ENOENT, _c.Ranges(fault, 1, out _, out _, out _));
        Fails(ENOENT, _c.Allow(fault));
        Fails(ENOENT, _c.SetHugePages(fault, 0));
    }

    [Fact]
    public void A_new_address_space_allows_every_iova_at_any_alignment()
    {
        uint ioas = _c.IoasAlloc();
        Assert.Equal([(0ul, ulong.MaxValue)], _c.Ranges(ioas));
        Assert.Equal(1ul, _c.Alignment(ioas));
    }

    [Fact]
    public void Ranges_with_too_little_room_are_EMSGSIZE_and_say_how_many_there_are()
    {
        _c.NeedMock();
        uint ioas = _c.IoasAlloc();
        Ok(_c.AddReserved(ioas, 0x1000, 0x1000));
        Fails(EMSGSIZE, _c.Ranges(ioas, 1, out iommu_iova_range[] ranges, out uint count, out _));
        Assert.Equal((2u, 0ul, 0xffful), (count, ranges[0].start, ranges[0].last));
        Fails(EMSGSIZE, _c.Ranges(ioas, 0, out _, out count, out _));
        Assert.Equal(2u, count);
        Ok(_c.Ranges(ioas, 2, out ranges, out count, out _));
        Assert.Equal((2u, 0x2000ul, ulong.MaxValue), (count, ranges[1].start, ranges[1].last));
    }

    [Fact]
    public void Ranges_into_memory_that_is_not_there_are_EFAULT()
    {
        var cmd = new iommu_ioas_iova_ranges { ioas_id = _c.IoasAlloc(), num_iovas = 1, allowed_iovas = 0x1000 };
        Fails(EFAULT, _c.Call(Iommufd.IOMMU_IOAS_IOVA_RANGES, ref cmd));
        cmd.__reserved = 1;
        Fails(EOPNOTSUPP, _c.Call(Iommufd.IOMMU_IOAS_IOVA_RANGES, ref cmd));
    }

    [Fact]
    public void Overlapping_reserved_ranges_count_as_one()
    {
        _c.NeedMock();
        uint ioas = _c.IoasAlloc();
        Ok(_c.AddReserved(ioas, 0x3000, 0x2000));
        Ok(_c.AddReserved(ioas, 0x1000, 0x3000));
        Ok(_c.AddReserved(ioas, 0x5000, 0x1000));
        Ok(_c.AddReserved(ioas, 0xffff_ffff_ffff_0000, 0x10000));
        Assert.Equal([(0ul, 0xffful), (0x6000ul, 0xffff_ffff_fffe_fffful)], _c.Ranges(ioas));
        Fails(EINVAL, _c.Map(ioas, 0x10000, Page, 0x1000));
        Fails(EINVAL, _c.Map(ioas, 0x10000, Page, 0xfff));
        Ok(_c.Map(ioas, 0x10000, Page, 0x6000));
    }

    [Fact]
    public void Everything_reserved_leaves_no_range()
    {
        _c.NeedMock();
        uint ioas = _c.IoasAlloc();
        Ok(_c.AddReserved(ioas, 0, ulong.MaxValue));
        Assert.Equal([(ulong.MaxValue, ulong.MaxValue)], _c.Ranges(ioas));
        Ok(_c.AddReserved(ioas, ulong.MaxValue, 1));
        Assert.Empty(_c.Ranges(ioas));
        Fails(ENOSPC, _c.MapAuto(ioas, 0x10000, Page, out _));
    }

    [Fact]
    public void Reserving_what_is_mapped_or_allowed_is_EADDRINUSE()
    {
        _c.NeedMock();
        uint ioas = _c.IoasAlloc();
        Ok(_c.Map(ioas, 0x10000, Page, 0x5000));
        Fails(EADDRINUSE, _c.AddReserved(ioas, 0x5fff, 1));
        Ok(_c.AddReserved(ioas, 0x6000, 1));
        Ok(_c.Allow(ioas, (0x10000, 0x1ffff)));
        Fails(EADDRINUSE, _c.AddReserved(ioas, 0x1ffff, 1));
        Ok(_c.AddReserved(ioas, 0x20000, 1));
    }

    [Fact]
    public void Without_a_domain_areas_may_have_any_alignment_and_wild_memory()
    {
        uint ioas = _c.IoasAlloc();
        Ok(_c.Map(ioas, 3, 1, 5));
        Ok(_c.Map(ioas, 0xdead_beef_0000, 77, 6));
        Fails(EEXIST, _c.Map(ioas, 0x10000, 1, 82));
        Ok(_c.Unmap(ioas, 5, 78, out ulong unmapped));
        Assert.Equal(78ul, unmapped);
    }

    [Theory]
    [InlineData(0u, EINVAL)]
    [InlineData(FIXED, EINVAL)]
    [InlineData(FIXED | RW | 8, EOPNOTSUPP)]
    [InlineData(8u, EOPNOTSUPP)]
    [InlineData(0x8000_0000u, EOPNOTSUPP)]
    [InlineData(FIXED | READ, 0)]
    [InlineData(FIXED | WRITE, 0)]
    [InlineData(RW, 0)]
    public void Map_flags(uint flags, int errno) => Assert.Equal(-errno, _c.Map(_c.IoasAlloc(), 0x10000, Page, 0x4000, flags));

    [Theory]
    [InlineData(0ul, 0ul, EINVAL)]
    [InlineData(ulong.MaxValue, 0ul, EOVERFLOW)]
    [InlineData(Page, ulong.MaxValue, EOVERFLOW)]
    [InlineData(ulong.MaxValue - 1, 0ul, EINVAL)]
    [InlineData(ulong.MaxValue - 4096, 0ul, 0)]
    [InlineData(ulong.MaxValue - 4095, 0ul, EINVAL)]
    [InlineData(Page, ulong.MaxValue - 4095, 0)]
    [InlineData(Page, ulong.MaxValue - 4094, EOVERFLOW)]
    [InlineData(2ul, ulong.MaxValue - 1, 0)]
    [InlineData(1ul, ulong.MaxValue - 1, 0)]
    public void Map_at_the_ends_of_the_space(ulong length, ulong iova, int errno) => Assert.Equal(-errno, _c.Map(_c.IoasAlloc(), 0, length, iova));

    [Theory]
    [InlineData(0xffff_ffff_ffff_f000, 0x1000ul, EOVERFLOW)]
    [InlineData(0xffff_ffff_ffff_f000, 0xffful, 0)]
    [InlineData(ulong.MaxValue, 1ul, EOVERFLOW)]
    public void Map_of_memory_that_wraps_is_EOVERFLOW(ulong va, ulong length, int errno) =>
        Assert.Equal(-errno, _c.Map(_c.IoasAlloc(), va, length, 0x10000));

    [Fact]
    public void Map_with_the_reserved_field_set_is_EOPNOTSUPP()
    {
        var cmd = new iommu_ioas_map { ioas_id = _c.IoasAlloc(), user_va = 0x10000, length = Page, flags = RW, __reserved = 1 };
        Fails(EOPNOTSUPP, _c.Call(Iommufd.IOMMU_IOAS_MAP, ref cmd));
    }

    [Fact]
    public void The_checks_of_map_have_an_order()
    {
        // Flags before overflow, overflow before permissions, permissions before the id.
        Fails(EOPNOTSUPP, _c.Map(99, 0, ulong.MaxValue, ulong.MaxValue, 8));
        Fails(EOVERFLOW, _c.Map(99, 0, ulong.MaxValue, 0, FIXED));
        Fails(EINVAL, _c.Map(99, 0, 0, 0, FIXED));
        Fails(ENOENT, _c.Map(99, 0, 0, 0));
    }

    [Fact]
    public void Overlap_is_EEXIST_on_every_side()
    {
        uint ioas = _c.IoasAlloc();
        Ok(_c.Map(ioas, 0x10000, 4 * Page, 0x10000));
        foreach ((ulong iova, ulong length) in new (
            ulong, ulong)[] { (0x10000, 4 * Page), (0xf000, 2 * Page), (0x13000, 2 * Page), (0x11000, Page), (0xf000, 6 * Page), (0x13fff, 1),
            (0, 0x10001) })
        {
            Fails(EEXIST, _c.Map(ioas, 0x10000, length, iova));
        }

        Ok(_c.Map(ioas, 0x10000, Page, 0xf000));
        Ok(_c.Map(ioas, 0x10000, Page, 0x14000));
    }

    [Fact]
    public void Unmap_takes_whole_areas_and_says_how_much()
    {
        uint ioas = _c.IoasAlloc();
        for (ulong i = 0; i < 4; i++)
        {
            Ok(_c.Map(ioas, 0x10000, Page, 0x10000 + (i * 2 * Page)));
        }

        Fails(ENOENT, _c.Unmap(ioas, 0x10000, Page - 1));
        Fails(ENOENT, _c.Unmap(ioas, 0x10001, Page));
        Fails(ENOENT, _c.Unmap(ioas, 0x11000, Page));
        Ok(_c.Unmap(ioas, 0xf000, 4 * Page, out ulong unmapped));
        Assert.Equal(2 * Page, unmapped);
        Ok(_c.Unmap(ioas, 0, ulong.MaxValue, out unmapped));
        Assert.Equal(2 * Page, unmapped);
        Ok(_c.Unmap(ioas, 0, ulong.MaxValue, out unmapped));
        Assert.Equal(0ul, unmapped);
    }

    [Fact]
    public void Unmap_that_cuts_an_area_takes_what_lies_before_it()
    {
        uint ioas = _c.IoasAlloc();
        Ok(_c.Map(ioas, 0x10000, Page, 0x10000));
        Ok(_c.Map(ioas, 0x10000, 2 * Page, 0x11000));
        Fails(ENOENT, _c.Unmap(ioas, 0x10000, 2 * Page));
        Ok(_c.Map(ioas, 0x10000, Page, 0x10000));
        Fails(EEXIST, _c.Map(ioas, 0x10000, Page, 0x11000));
    }

    [Theory]
    [InlineData(0ul, 0ul, EINVAL)]
    [InlineData(0x10000ul, 0ul, EINVAL)]
    [InlineData(1ul, ulong.MaxValue, EOVERFLOW)]
    [InlineData(ulong.MaxValue, 1ul, EOVERFLOW)]
    [InlineData(0x10000ul, 0xffff_ffff_ffff_0001ul, EOVERFLOW)]
    [InlineData(0x10000ul, 0xffff_ffff_ffff_0000ul, 0)]
    [InlineData(0ul, ulong.MaxValue - 1, 0)]
    [InlineData(0x20000ul, 0x1000ul, ENOENT)]
    public void Unmap_ranges(ulong iova, ulong length, int errno)
    {
        uint ioas = _c.IoasAlloc();
        Ok(_c.Map(ioas, 0x10000, Page, 0x10000));
        Assert.Equal(-errno, _c.Unmap(ioas, iova, length));
    }

    [Fact]
    public void The_answer_of_a_failed_map_is_not_written()
    {
        uint ioas = _c.IoasAlloc();
        Fails(EINVAL, _c.MapAuto(ioas, 0x10000, 0, out ulong iova));
        Assert.Equal(0ul, iova);
    }

    [Fact]
    public void A_mock_device_narrows_ranges_and_alignment_and_gives_them_back()
    {
        uint ioas = _c.IoasAlloc();
        Mock mock = _c.MockDomain(ioas);
        Assert.Equal([(MOCK_APERTURE_START, MOCK_APERTURE_LAST)], _c.Ranges(ioas));
        Assert.Equal(MOCK_PAGE_SIZE, _c.Alignment(ioas));
        Ok(_c.Destroy(mock.Stdev));
        Assert.Equal([(0ul, ulong.MaxValue)], _c.Ranges(ioas));
        Assert.Equal(1ul, _c.Alignment(ioas));
    }

    [Fact]
    public void A_device_whose_aperture_misses_an_area_cannot_be_attached()
    {
        uint ioas = _c.IoasAlloc();
        ulong va = (ulong)_c.Host.Pages(1);
        Ok(_c.Map(ioas, va, Page, 0x1000));
        Fails(EADDRINUSE, _c.MockDomain(ioas, 0, out _));
        Assert.Equal([(0ul, ulong.MaxValue)], _c.Ranges(ioas));
        Ok(_c.Unmap(ioas, 0x1000, Page));
        Ok(_c.Map(ioas, va + 1, Page, MockBase));
        Fails(EADDRINUSE, _c.MockDomain(ioas, 0, out _));
        Ok(_c.Unmap(ioas, MockBase, Page));
        Ok(_c.Map(ioas, va, Page, MockBase));
        Ok(_c.MockDomain(ioas, 0, out _));
    }

    [Fact]
    public void With_a_domain_iova_length_and_page_offset_must_be_aligned()
    {
        uint ioas = _c.IoasAlloc();
        _c.MockDomain(ioas);
        ulong va = (ulong)_c.Host.Pages(2);
        Fails(EINVAL, _c.Map(ioas, va, Page, MockBase + 1));
        Fails(EINVAL, _c.Map(ioas, va, 1, MockBase));
        Fails(EINVAL, _c.Map(ioas, va + 1, Page, MockBase));
        Fails(EINVAL, _c.Map(ioas, va, Page, MockBase - Page));
        Ok(_c.Map(ioas, va + MOCK_PAGE_SIZE, MOCK_PAGE_SIZE, MockBase + MOCK_PAGE_SIZE));
        Fails(EEXIST, _c.Map(ioas, va, Page, MockBase));
    }

    [Fact]
    public void With_a_domain_memory_is_pinned_and_must_be_there()
    {
        uint ioas = _c.IoasAlloc();
        Mock mock = _c.MockDomain(ioas);
        Fails(EFAULT, _c.Map(ioas, 0x1000, Page, MockBase));
        nint pages = _c.Host.Pages(4);
        _c.MakeHole(pages + (2 * 4096), 4096);
        Fails(EFAULT, _c.Map(ioas, (ulong)pages, 4 * Page, MockBase));
        Ok(_c.CheckRefs((ulong)pages, 2 * Page, 0));
        Ok(_c.Map(ioas, (ulong)pages, 2 * Page, MockBase));
        Ok(_c.CheckMap(mock.Hwpt, MockBase, (ulong)pages, 2 * Page));
        Ok(_c.CheckRefs((ulong)pages, 2 * Page, 1));
        Ok(_c.Unmap(ioas, MockBase, 2 * Page));
        Ok(_c.CheckRefs((ulong)pages, 2 * Page, 0));
    }

    [Fact]
    public void Attaching_pins_what_is_mapped_already_or_fails_without_a_trace()
    {
        uint ioas = _c.IoasAlloc();
        ulong va = (ulong)_c.Host.Pages(2);
        Ok(_c.Map(ioas, va, 2 * Page, MockBase));
        Ok(_c.Map(ioas, 0x1000, Page, MockBase + (4 * Page)));
        Fails(EFAULT, _c.MockDomain(ioas, 0, out _));
        Ok(_c.CheckRefs(va, 2 * Page, 0));
        Assert.Equal(1ul, _c.Alignment(ioas));
        Ok(_c.Unmap(ioas, MockBase + (4 * Page), Page));
        Mock mock = _c.MockDomain(ioas);
        Ok(_c.CheckMap(mock.Hwpt, MockBase, va, 2 * Page));
        Ok(_c.CheckRefs(va, 2 * Page, 1));
    }

    [Fact]
    public void Destroying_an_address_space_with_areas_unmaps_them()
    {
        uint ioas = _c.IoasAlloc();
        Ok(_c.Map(ioas, 0x10000, Page, 0));
        Ok(_c.Destroy(ioas));
        Fails(ENOENT, _c.Unmap(ioas, 0, Page));
    }

    [Fact]
    public void An_address_space_in_use_is_EBUSY()
    {
        uint ioas = _c.IoasAlloc();
        Mock mock = _c.MockDomain(ioas);
        Fails(EBUSY, _c.Destroy(ioas));
        Fails(EBUSY, _c.Destroy(mock.Hwpt));
        Fails(EBUSY, _c.Destroy(mock.Idev));
        Ok(_c.Destroy(mock.Stdev));
        Fails(ENOENT, _c.Destroy(mock.Hwpt));
        Fails(ENOENT, _c.Destroy(mock.Idev));
        Ok(_c.Destroy(ioas));
    }
}
