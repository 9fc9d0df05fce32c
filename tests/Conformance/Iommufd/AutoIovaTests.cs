using Xunit;
using static Conformance.Iommu.IommufdCalls;
using static IommuFd.HwSim.Kernel.iommu_test_cmd;
using static IommuFd.Native.Errno;

namespace Conformance.Iommu;

/// <summary>
/// IOVAs that the kernel chooses: the lowest hole, aligned to the length and to the memory's own alignment, at most to a huge page.
/// </summary>
public sealed class AutoIovaTests : IDisposable
{
    private const ulong Mega = 1 << 20;

    private readonly IommufdCalls _c = new();

    public void Dispose() => _c.Dispose();

    [Theory]
    [InlineData(0x40000000ul, 0x1000ul, 0x1000ul)]
    [InlineData(0x40000000ul, 0x3000ul, 0x4000ul)]
    [InlineData(0x40001000ul, 0x3000ul, 0x1000ul)]
    [InlineData(0x40002000ul, 0x3000ul, 0x2000ul)]
    [InlineData(0x40000000ul, 2 * Mega, 2 * Mega)]
    [InlineData(0x40000000ul, 2 * Mega + 0x1000, 2 * Mega)]
    [InlineData(0x40000000ul, 0x40000000ul, 2 * Mega)]
    [InlineData(0x40000800ul, 0x1000ul, 0x1800ul)]
    [InlineData(0x40000001ul, 1ul, 0x1001ul)]
    [InlineData(0x40000ffful, 1ul, 0x1ffful)]
    [InlineData(0x40000400ul, 0x800ul, 0x1400ul)]
    [InlineData(0ul, 0x1000ul, 0x1000ul)]
    [InlineData(0ul, 0x5000ul, 0x8000ul)]
    public void The_first_iova_follows_the_alignment_of_length_and_memory(ulong va, ulong length, ulong iova) =>
        Assert.Equal(iova, _c.MapAuto(_c.IoasAlloc(), va, length));

    [Fact]
    public void Holes_are_filled_from_below()
    {
        uint ioas = _c.IoasAlloc();
        for (ulong i = 1; i <= 8; i++)
        {
            Assert.Equal(i * Page, _c.MapAuto(ioas, 0x40001000, Page));
        }

        Ok(_c.Unmap(ioas, 3 * Page, Page));
        Ok(_c.Unmap(ioas, 5 * Page, 2 * Page));
        Assert.Equal(5 * Page, _c.MapAuto(ioas, 0x40001000, 2 * Page));
        Assert.Equal(3 * Page, _c.MapAuto(ioas, 0x40001000, Page));
        Assert.Equal(9 * Page, _c.MapAuto(ioas, 0x40001000, Page));
        Ok(_c.Unmap(ioas, Page, Page));
        Assert.Equal(Page, _c.MapAuto(ioas, 0x40001000, Page));
    }

    [Fact]
    public void Different_lengths_and_alignments_find_their_own_holes()
    {
        uint ioas = _c.IoasAlloc();
        Assert.Equal(0x4000ul, _c.MapAuto(ioas, 0x40000000, 3 * Page));
        Assert.Equal(0x1000ul, _c.MapAuto(ioas, 0x40001000, 3 * Page));
        Assert.Equal(0x7000ul, _c.MapAuto(ioas, 0x40001000, Page));
        Assert.Equal(0x8000ul, _c.MapAuto(ioas, 0x40000000, 8 * Page));
        Assert.Equal(0x200000ul, _c.MapAuto(ioas, 0x40000000, 4 * Mega));
        Assert.Equal(0x10000ul, _c.MapAuto(ioas, 0x40000000, 16 * Page));
    }

    [Fact]
    public void Allowed_ranges_bound_the_choice()
    {
        uint ioas = _c.IoasAlloc();
        Ok(_c.Allow(ioas, (0x10000, 0x11fff), (0x20000, 0x2ffff)));
        Assert.Equal(0x20000ul, _c.MapAuto(ioas, 0x40000000, 4 * Page));
        Assert.Equal(0x10000ul, _c.MapAuto(ioas, 0x40000000, Page));
        Assert.Equal(0x11000ul, _c.MapAuto(ioas, 0x40000000, Page));
        Fails(ENOSPC, _c.MapAuto(ioas, 0x40000000, 16 * Page, out _));
        Assert.Equal(0x24000ul, _c.MapAuto(ioas, 0x40000000, Page));

        // A fixed IOVA may lie elsewhere.
        Ok(_c.Map(ioas, 0x40000000, Page, 0x50000));
        Ok(_c.Allow(ioas));
        Assert.Equal(0x1000ul, _c.MapAuto(ioas, 0x40000000, Page));
    }

    [Fact]
    public void Allowed_ranges_that_touch_count_as_one_and_page_0_is_left_out()
    {
        uint ioas = _c.IoasAlloc();
        Ok(_c.Allow(ioas, (0x2000, 0x3fff), (0, 0x1fff)));
        Assert.Equal(0x1000ul, _c.MapAuto(ioas, 0x40001000, 3 * Page));
    }

    [Theory]
    [InlineData(5ul, 5ul)]
    [InlineData(6ul, 5ul)]
    public void An_allowed_range_of_at_most_one_iova_is_EINVAL(ulong first, ulong last) => Fails(EINVAL, _c.Allow(_c.IoasAlloc(), (first, last)));

    [Fact]
    public void Allowed_ranges_must_not_overlap_or_be_reserved()
    {
        _c.NeedMock();
        uint ioas = _c.IoasAlloc();
        Fails(EINVAL, _c.Allow(ioas, (0x1000, 0x1fff), (0x1fff, 0x2fff)));
        Ok(_c.AddReserved(ioas, 0x8000, Page));
        Fails(EADDRINUSE, _c.Allow(ioas, (0x1000, 0x8000)));
        Ok(_c.Allow(ioas, (0x1000, 0x7fff)));
        Fails(EADDRINUSE, _c.Allow(ioas, (0x9000, 0x9fff), (0x8000, 0x8fff)));

        // The old promise still stands.
        Fails(EADDRINUSE, _c.AddReserved(ioas, 0x1000, Page));
    }

    [Fact]
    public void A_device_must_be_able_to_reach_what_is_allowed()
    {
        uint ioas = _c.IoasAlloc();
        Ok(_c.Allow(ioas, (0, MOCK_APERTURE_LAST)));
        Fails(EADDRINUSE, _c.MockDomain(ioas, 0, out _));
        Ok(_c.Allow(ioas, (MockBase + Page, MockBase + (2 * Page) - 1)));
        _c.MockDomain(ioas);
        Assert.Equal(MockBase + Page, _c.MapAuto(ioas, (ulong)_c.Host.Pages(1), Page));
        Fails(ENOSPC, _c.MapAuto(ioas, (ulong)_c.Host.Pages(1), Page, out _));
    }

    [Fact]
    public void With_a_domain_the_memory_must_be_aligned()
    {
        uint ioas = _c.IoasAlloc();
        _c.MockDomain(ioas);
        ulong va = (ulong)_c.Host.Pages(2);
        Fails(EINVAL, _c.MapAuto(ioas, va + 1, Page, out _));
        Fails(EINVAL, _c.MapAuto(ioas, va + 0x400, MOCK_PAGE_SIZE, out _));
        Fails(EINVAL, _c.MapAuto(ioas, va, 1, out _));
        Assert.Equal(MockBase + MOCK_PAGE_SIZE, _c.MapAuto(ioas, va + MOCK_PAGE_SIZE, Page));
        Assert.Equal(MockBase, _c.MapAuto(ioas, va, MOCK_PAGE_SIZE));
    }

    [Fact]
    public void Half_of_the_space_is_EOVERFLOW() => Fails(EOVERFLOW, _c.MapAuto(_c.IoasAlloc(), 0, ulong.MaxValue / 2, out _));

    [Fact]
    public void The_highest_page_is_never_chosen()
    {
        uint ioas = _c.IoasAlloc();
        Ok(_c.Map(ioas, 0, ulong.MaxValue - (4 * Page) + 1, 0));
        Assert.Equal(ulong.MaxValue - (4 * Page) + 1, _c.MapAuto(ioas, 0x40001000, 2 * Page));
        Assert.Equal(ulong.MaxValue - (2 * Page) + 1, _c.MapAuto(ioas, 0x40001000, Page));
        Fails(ENOSPC, _c.MapAuto(ioas, 0x40001000, Page, out _));
    }
}
