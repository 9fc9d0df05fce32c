using IommuFd.Native.Uapi;
using Xunit;
using static Conformance.Iommu.IommufdCalls;
using static IommuFd.HwSim.Kernel.iommu_test_cmd;
using static IommuFd.Native.Errno;

namespace Conformance.Iommu;

/// <summary>IOMMU_IOAS_COPY: areas that share pages.</summary>
public sealed class CopyTests : IDisposable
{
    private readonly IommufdCalls _c = new();

    public void Dispose() => _c.Dispose();

    [Fact]
    public void A_copy_outlives_its_source_and_pins_nothing_twice()
    {
        uint source = _c.IoasAlloc(), destination = _c.IoasAlloc();
        ulong va = (ulong)_c.Host.Pages(8);
        Ok(_c.Map(source, va, 8 * Page, MockBase));
        Mock a = _c.MockDomain(source), b = _c.MockDomain(destination);
        Ok(_c.Copy(destination, MockBase + 0x10000, source, MockBase + (2 * Page), 4 * Page));
        Ok(_c.CheckMap(b.Hwpt, MockBase + 0x10000, va + (2 * Page), 4 * Page));
        Ok(_c.CheckRefs(va, 8 * Page, 1));
        Ok(_c.Unmap(source, MockBase, 8 * Page));
        Ok(_c.CheckRefs(va, 2 * Page, 0));
        Ok(_c.CheckRefs(va + (2 * Page), 4 * Page, 1));
        Ok(_c.CheckRefs(va + (6 * Page), 2 * Page, 0));
        Ok(_c.CheckMap(b.Hwpt, MockBase + 0x10000, va + (2 * Page), 4 * Page));
        Ok(_c.Destroy(a.Stdev));
        Ok(_c.Destroy(source));
        Ok(_c.Unmap(destination, MockBase + 0x10000, 4 * Page));
        Ok(_c.CheckRefs(va, 8 * Page, 0));
    }

    [Fact]
    public void Mapping_the_same_memory_twice_pins_it_twice()
    {
        uint ioas = _c.IoasAlloc();
        _c.MockDomain(ioas);
        ulong va = (ulong)_c.Host.Pages(1);
        Ok(_c.Map(ioas, va, Page, MockBase));
        Ok(_c.Map(ioas, va, Page, MockBase + Page));
        Ok(_c.CheckRefs(va, Page, 2));
    }

    [Fact]
    public void A_copy_may_span_areas_but_no_hole()
    {
        uint ioas = _c.IoasAlloc();
        Ok(_c.Map(ioas, 0x100000, Page, 0x10000));
        Ok(_c.Map(ioas, 0x200000, 2 * Page, 0x11000));
        Ok(_c.Map(ioas, 0x300000, Page, 0x14000));
        Ok(_c.Copy(ioas, 0x20000, ioas, 0x10000, 3 * Page));
        Fails(ENOENT, _c.Copy(ioas, 0x30000, ioas, 0x10000, 5 * Page));
        Fails(ENOENT, _c.Copy(ioas, 0x30000, ioas, 0xf000, 2 * Page));
        Fails(ENOENT, _c.Copy(ioas, 0x30000, ioas, 0x13000, Page));

        // Two areas come of two.
        Ok(_c.Unmap(ioas, 0x20000, Page));
        Ok(_c.Unmap(ioas, 0x21000, 2 * Page));
    }

    [Fact]
    public void A_part_of_an_area_at_any_byte_can_be_copied()
    {
        uint ioas = _c.IoasAlloc();
        Ok(_c.Map(ioas, 0x100000, 4 * Page, 0x10000));
        Ok(_c.Copy(ioas, 0x20000, ioas, 0x10801, 5));
        Ok(_c.Unmap(ioas, 0x20000, 5, out ulong unmapped));
        Assert.Equal(5ul, unmapped);
    }

    [Fact]
    public void The_kernel_can_choose_the_iova()
    {
        uint ioas = _c.IoasAlloc();
        Ok(_c.Map(ioas, 0x40000000, 4 * Page, 0x100000));
        var cmd = new iommu_ioas_copy { dst_ioas_id = ioas, src_ioas_id = ioas, src_iova = 0x100000, length = 3 * Page, flags = RW };
        Ok(_c.Call(IommuFd.Native.Uapi.Iommufd.IOMMU_IOAS_COPY, ref cmd));
        Assert.Equal(0x4000ul, cmd.dst_iova);
        cmd = cmd with { src_iova = 0x101000, dst_iova = 0 };
        Ok(_c.Call(IommuFd.Native.Uapi.Iommufd.IOMMU_IOAS_COPY, ref cmd));
        Assert.Equal(0x1000ul, cmd.dst_iova);
    }

    [Fact]
    public void Writing_where_the_source_only_reads_is_EPERM()
    {
        uint ioas = _c.IoasAlloc();
        Ok(_c.Map(ioas, 0x100000, Page, 0x10000, FIXED | READ));
        Fails(EPERM, _c.Copy(ioas, 0x20000, ioas, 0x10000, Page));
        Fails(EPERM, _c.Copy(ioas, 0x20000, ioas, 0x10000, Page, FIXED | WRITE));
        Ok(_c.Copy(ioas, 0x20000, ioas, 0x10000, Page, FIXED | READ));
        Fails(EPERM, _c.Copy(ioas, 0x30000, ioas, 0x20000, Page));
        Ok(_c.Map(ioas, 0x100000, Page, 0x40000, FIXED | WRITE));
        Ok(_c.Copy(ioas, 0x50000, ioas, 0x40000, Page));
    }

    [Fact]
    public void The_checks_of_copy_have_an_order()
    {
        uint ioas = _c.IoasAlloc();
        Fails(EOPNOTSUPP, _c.Copy(99, ulong.MaxValue, 98, 0, Page, 8));
        Fails(EOVERFLOW, _c.Copy(99, ulong.MaxValue, 98, 0, Page, FIXED));
        Fails(EOVERFLOW, _c.Copy(99, 0, 98, ulong.MaxValue, Page));
        Fails(EOVERFLOW, _c.Copy(99, 0, 98, 0, ulong.MaxValue));
        Fails(EINVAL, _c.Copy(99, 0, 98, 0, Page, FIXED));
        Fails(ENOENT, _c.Copy(99, 0, 98, 0, Page));
        Fails(EINVAL, _c.Copy(99, 0, ioas, 0, 0));
        Fails(EOVERFLOW, _c.Copy(99, 0, ioas, ulong.MaxValue - 1, 3));
        Fails(ENOENT, _c.Copy(99, 0, ioas, 0, Page));
        Ok(_c.Map(ioas, 0x100000, Page, 0));
        Fails(ENOENT, _c.Copy(99, 0, ioas, 0, Page));
        Fails(EEXIST, _c.Copy(ioas, 0, ioas, 0, Page));
        Fails(EOVERFLOW, _c.Copy(ioas, ulong.MaxValue - 1, ioas, 0, Page));
    }

    [Fact]
    public void Into_a_domain_the_source_must_be_aligned()
    {
        uint source = _c.IoasAlloc(), destination = _c.IoasAlloc();
        _c.MockDomain(destination);
        ulong va = (ulong)_c.Host.Pages(4);
        Ok(_c.Map(source, va, 4 * Page, MockBase + 1));
        Fails(EINVAL, _c.Copy(destination, MockBase, source, MockBase + 2, Page));
        Fails(EINVAL, _c.Copy(destination, MockBase, source, MockBase + 1, Page + 1));
        Ok(_c.Copy(destination, MockBase, source, MockBase + 1 + MOCK_PAGE_SIZE, Page));
        Ok(_c.CheckRefs(va, 2 * Page, 1));
        Ok(_c.CheckRefs(va + (2 * Page), 2 * Page, 0));
    }

    [Fact]
    public void Copies_of_copies_share_the_pages_of_the_first()
    {
        uint ioas = _c.IoasAlloc();
        Mock mock = _c.MockDomain(ioas);
        ulong va = (ulong)_c.Host.Pages(2);
        Ok(_c.Map(ioas, va, 2 * Page, MockBase));
        for (ulong i = 1; i < 20; i++)
        {
            Ok(_c.Copy(ioas, MockBase + (i * 0x10000), ioas, MockBase + ((i - 1) * 0x10000), 2 * Page));
        }

        Ok(_c.CheckRefs(va, 2 * Page, 1));
        Ok(_c.CheckMap(mock.Hwpt, MockBase + (19 * 0x10000), va, 2 * Page));
        Ok(_c.Unmap(ioas, 0, ulong.MaxValue, out ulong unmapped));
        Assert.Equal(40 * Page, unmapped);
        Ok(_c.CheckRefs(va, 2 * Page, 0));
    }
}
