using IommuFd.HwSim.Kernel;
using Xunit;
using static Conformance.Iommu.IommufdCalls;
using static IommuFd.HwSim.Kernel.iommu_test_cmd;
using static IommuFd.Native.Errno;

namespace Conformance.Iommu;

/// <summary>Emulated devices, which reach memory through the kernel: pins, copies, unmap notices.</summary>
public sealed unsafe class AccessTests : IDisposable
{
    private const int EBADFD = 77;

    private readonly IommufdCalls _c = new();

    public void Dispose() => _c.Dispose();

    [Fact]
    public void An_access_that_pins_asks_for_page_alignment_and_one_that_copies_for_none()
    {
        uint ioas = _c.IoasAlloc();
        _c.CreateAccess(ioas, pins: false);
        Assert.Equal(1ul, _c.Alignment(ioas));
        int access = _c.CreateAccess(ioas, pins: true);
        Assert.Equal(Page, _c.Alignment(ioas));
        Assert.Equal([(0ul, ulong.MaxValue)], _c.Ranges(ioas));
        Fails(EBUSY, _c.Destroy(ioas));
        _c.Host.Close(access);
        Assert.Equal(1ul, _c.Alignment(ioas));
    }

    [Fact]
    public void An_access_on_unaligned_areas_is_EADDRINUSE()
    {
        uint ioas = _c.IoasAlloc();
        Ok(_c.Map(ioas, 0x10001, Page, 0x10000));
        _c.NeedMock();
        Fails(EADDRINUSE, _c.CreateAccess(ioas, true, out _));
        Ok(_c.CreateAccess(ioas, false, out _));
        Fails(ENOENT, _c.CreateAccess(99, true, out _));
    }

    [Fact]
    public void Pages_are_pinned_on_demand()
    {
        uint ioas = _c.IoasAlloc();
        ulong va = (ulong)_c.Host.Pages(4);
        Ok(_c.Map(ioas, va, 4 * Page, 0x10000));
        int access = _c.CreateAccess(ioas, pins: true);
        Ok(_c.CheckRefs(va, 4 * Page, 0));
        Ok(_c.AccessPages(access, 0x11000, 2 * Page, va + Page, out uint id));
        Ok(_c.CheckRefs(va, Page, 0));
        Ok(_c.CheckRefs(va + Page, 2 * Page, 1));
        Ok(_c.AccessPages(access, 0x10000, 4 * Page, va, out uint all, MOCK_FLAGS_ACCESS_WRITE));
        Ok(_c.CheckRefs(va, 4 * Page, 1));
        Ok(_c.DestroyAccessPages(access, id));
        Fails(ENOENT, _c.DestroyAccessPages(access, id));
        Ok(_c.CheckRefs(va, 4 * Page, 1));
        Ok(_c.DestroyAccessPages(access, all));
        Ok(_c.CheckRefs(va, 4 * Page, 0));
    }

    [Fact]
    public void Pins_and_domains_share_the_pages()
    {
        uint ioas = _c.IoasAlloc();
        ulong va = (ulong)_c.Host.Pages(4);
        Ok(_c.Map(ioas, va, 4 * Page, MockBase));
        int access = _c.CreateAccess(ioas, pins: true);
        Ok(_c.AccessPages(access, MockBase + Page, Page, va + Page, out uint id));
        Mock mock = _c.MockDomain(ioas);
        Ok(_c.CheckRefs(va, 4 * Page, 1));
        Ok(_c.CheckMap(mock.Hwpt, MockBase, va, 4 * Page));
        Ok(_c.Destroy(mock.Stdev));
        Ok(_c.CheckRefs(va, Page, 0));
        Ok(_c.CheckRefs(va + Page, Page, 1));
        Ok(_c.DestroyAccessPages(access, id));
        Ok(_c.CheckRefs(va, 4 * Page, 0));
    }

    [Fact]
    public void Unmap_tells_the_access_which_unpins()
    {
        uint ioas = _c.IoasAlloc();
        ulong va = (ulong)_c.Host.Pages(2);
        Ok(_c.Map(ioas, va, 2 * Page, 0x10000));
        int access = _c.CreateAccess(ioas, pins: true);
        Ok(_c.AccessPages(access, 0x10000, Page, va, out uint id));
        Ok(_c.AccessPages(access, 0x10000, 2 * Page, va, out _));
        Ok(_c.Unmap(ioas, 0x10000, 2 * Page));
        Fails(ENOENT, _c.DestroyAccessPages(access, id));
        Ok(_c.CheckRefs(va, 2 * Page, 0));
    }

    [Theory]
    [InlineData(0x10000ul, 0ul, EINVAL)]
    [InlineData(0xf000ul, Page, ENOENT)]
    [InlineData(0x11000ul, 2 * Page, ENOENT)]
    [InlineData(0x10001ul, Page, EINVAL)]
    [InlineData(0x10800ul, Page, EINVAL)]
    [InlineData(ulong.MaxValue, 2ul, EOVERFLOW)]
    [InlineData(0x10000ul, 1ul, 0)]
    [InlineData(0x10000ul, 2 * Page, 0)]
    [InlineData(0x10000ul, 0x1000001ul, ENOMEM)]
    public void Ranges_that_can_be_pinned(ulong iova, ulong length, int errno)
    {
        uint ioas = _c.IoasAlloc();
        ulong va = (ulong)_c.Host.Pages(2);
        Ok(_c.Map(ioas, va, 2 * Page, 0x10000));
        Assert.Equal(-errno, _c.AccessPages(_c.CreateAccess(ioas, pins: true), iova, length, 0, out _));
    }

    [Fact]
    public void Access_needs_the_permission_of_the_mapping()
    {
        uint ioas = _c.IoasAlloc();
        ulong va = (ulong)_c.Host.Pages(2);
        Ok(_c.Map(ioas, va, Page, 0x10000, FIXED | READ));
        Ok(_c.Map(ioas, va + Page, Page, 0x20000, FIXED | WRITE));
        int access = _c.CreateAccess(ioas, pins: true);
        Fails(EPERM, _c.AccessPages(access, 0x10000, Page, 0, out _, MOCK_FLAGS_ACCESS_WRITE));
        Ok(_c.AccessPages(access, 0x10000, Page, 0, out _));
        Fails(EPERM, _c.AccessPages(access, 0x20000, Page, 0, out _));
        Ok(_c.AccessPages(access, 0x20000, Page, 0, out _, MOCK_FLAGS_ACCESS_WRITE));
        ulong word = 0;
        Fails(EPERM, _c.AccessRw(access, 0x10000, (ulong)&word, 8, MOCK_ACCESS_RW_WRITE));
        Fails(EPERM, _c.AccessRw(access, 0x20000, (ulong)&word, 8, 0));
    }

    [Fact]
    public void Memory_that_is_not_there_is_EFAULT()
    {
        uint ioas = _c.IoasAlloc();
        Ok(_c.Map(ioas, 0x1000, 2 * Page, 0x10000));
        int access = _c.CreateAccess(ioas, pins: true);
        Fails(EFAULT, _c.AccessPages(access, 0x10000, Page, 0, out _));
        ulong word;
        Fails(EFAULT, _c.AccessRw(access, 0x10000, (ulong)&word, 8, 0));
        Fails(EFAULT, _c.AccessRw(access, 0x10000, (ulong)&word, 8, MOCK_ACCESS_RW_SLOW_PATH));
    }

    [Theory]
    [InlineData(0u)]
    [InlineData(MOCK_ACCESS_RW_SLOW_PATH)]
    public void Bytes_are_copied_across_areas_at_any_offset(uint path)
    {
        uint ioas = _c.IoasAlloc();
        byte* a = (byte*)_c.Host.Pages(2);
        byte* b = (byte*)_c.Host.Pages(2);
        Ok(_c.Map(ioas, (ulong)a, 2 * Page, 0x10000));
        Ok(_c.Map(ioas, (ulong)b, 2 * Page, 0x12000));
        int access = _c.CreateAccess(ioas, pins: false);
        byte[] data = [.. Enumerable.Range(0, 6000).Select(static i => (byte)(i * 7))];
        fixed (byte* p = data)
        {
            Ok(_c.AccessRw(access, 0x11ffb - 2000, (ulong)p, 6000, MOCK_ACCESS_RW_WRITE | path));
        }

        Assert.Equal(data[0], a[0x1ffb - 2000]);
        Assert.Equal(data[5999], b[3999 - 5]);
        byte[] back = new byte[6000];
        fixed (byte* p = back)
        {
            Ok(_c.AccessRw(access, 0x11ffb - 2000, (ulong)p, 6000, path));
        }

        Assert.Equal(data, back);
    }

    [Fact]
    public void Copies_have_the_same_bounds()
    {
        uint ioas = _c.IoasAlloc();
        ulong va = (ulong)_c.Host.Pages(1);
        Ok(_c.Map(ioas, va, Page, 0x10000));
        int access = _c.CreateAccess(ioas, pins: false);
        ulong word = 0;
        Fails(EINVAL, _c.AccessRw(access, 0x10000, (ulong)&word, 0, 0));
        Fails(ENOENT, _c.AccessRw(access, 0x10ffc, (ulong)&word, 8, 0));
        Fails(ENOENT, _c.AccessRw(access, 0xfffc, (ulong)&word, 8, 0));
        Fails(EOVERFLOW, _c.AccessRw(access, ulong.MaxValue, (ulong)&word, 8, 0));
        Fails(ENOMEM, _c.AccessRw(access, 0x10000, (ulong)&word, 0x1000001, 0));
        Fails(EOPNOTSUPP, _c.AccessRw(access, 0x10000, (ulong)&word, 8, 2));
        Fails(EFAULT, _c.AccessRw(access, 0x10000, 0x1000, 8, 0));
        Ok(_c.AccessRw(access, 0x10ff8, (ulong)&word, 8, 0));
    }

    [Fact]
    public void An_access_that_does_not_pin_cannot() =>
        Fails(EOPNOTSUPP, _c.AccessPages(_c.CreateAccess(_c.IoasAlloc(), pins: false), 0x10000, Page, 0, out _));

    [Fact]
    public void A_descriptor_that_is_no_access_is_EBADFD()
    {
        _c.NeedMock();
        Fails(EBADFD, _c.AccessPages(_c.Fd, 0x10000, Page, 0, out _));
        Fails(EBADFD, _c.AccessReplace(999, 1));
        Fails(EOPNOTSUPP, _c.AccessPages(_c.Fd, 0x10000, Page, 0, out _, 2));
    }

    [Fact]
    public void Replace_moves_an_access_and_drops_its_pins()
    {
        uint first = _c.IoasAlloc(), second = _c.IoasAlloc();
        ulong va = (ulong)_c.Host.Pages(1);
        Ok(_c.Map(first, va, Page, 0x10000));
        int access = _c.CreateAccess(first, pins: true);
        Ok(_c.AccessPages(access, 0x10000, Page, va, out uint id));
        Ok(_c.AccessReplace(access, second));
        Ok(_c.CheckRefs(va, Page, 0));
        Fails(ENOENT, _c.DestroyAccessPages(access, id));
        Fails(ENOENT, _c.AccessPages(access, 0x10000, Page, va, out _));
        Ok(_c.Destroy(first));
        Fails(EBUSY, _c.Destroy(second));
        Fails(ENOENT, _c.AccessReplace(access, first));
        Ok(_c.AccessReplace(access, second));
        Assert.Equal(Page, _c.Alignment(second));
    }

    [Fact]
    public void An_access_is_no_device_and_cannot_be_destroyed_by_its_id()
    {
        uint ioas = _c.IoasAlloc();
        _c.CreateAccess(ioas, pins: true);
        Fails(EBUSY, _c.Destroy(2));
        Fails(ENOENT, _c.HwptAlloc(2, ioas, 0, out _));
    }

    [Fact]
    public void The_iommufd_may_be_closed_before_the_access()
    {
        uint ioas = _c.IoasAlloc();
        ulong va = (ulong)_c.Host.Pages(1);
        Ok(_c.Map(ioas, va, Page, 0x10000));
        int access = _c.CreateAccess(ioas, pins: true);
        Ok(_c.AccessPages(access, 0x10000, Page, va, out _));
        _c.Host.Close(_c.Fd);
        _c.Host.Close(access);
    }
}
