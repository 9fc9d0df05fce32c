using IommuFd.Native.Uapi;
using Xunit;
using static Conformance.Iommu.IommufdCalls;
using static IommuFd.Native.Errno;

namespace Conformance.Iommu;

/// <summary>IOMMU_OPTION.</summary>
public sealed class OptionTests : IDisposable
{
    private const uint Rlimit = (uint)iommufd_option.IOMMU_OPTION_RLIMIT_MODE, HugePages = (uint)iommufd_option.IOMMU_OPTION_HUGE_PAGES;
    private const ushort Set = 0, Get = 1;

    private readonly IommufdCalls _c = new();

    public void Dispose() => _c.Dispose();

    [Fact]
    public void Accounting_is_by_user_and_can_be_by_process_before_any_object()
    {
        Assert.Equal((0, 0ul), Read(Rlimit, 0));
        Ok(Write(Rlimit, 0, 1));
        Assert.Equal((0, 1ul), Read(Rlimit, 0));
        Ok(Write(Rlimit, 0, 0));
        Assert.Equal((0, 0ul), Read(Rlimit, 0));
        Fails(EINVAL, Write(Rlimit, 0, 2));
        uint ioas = _c.IoasAlloc();
        Fails(EBUSY, Write(Rlimit, 0, 1));
        Fails(EBUSY, Write(Rlimit, 0, 2));
        Assert.Equal((0, 0ul), Read(Rlimit, 0));
        Ok(_c.Destroy(ioas));
        Ok(Write(Rlimit, 0, 1));
    }

    [Fact]
    public void Accounting_belongs_to_the_context()
    {
        Fails(EOPNOTSUPP, Write(Rlimit, 1, 1));
        Assert.Equal(-EOPNOTSUPP, Read(Rlimit, 1).Result);
    }

    [Fact]
    public void Huge_pages_belong_to_an_address_space_and_are_on()
    {
        uint ioas = _c.IoasAlloc();
        Assert.Equal((0, 1ul), Read(HugePages, ioas));
        Ok(Write(HugePages, ioas, 0));
        Assert.Equal((0, 0ul), Read(HugePages, ioas));
        Assert.Equal(Page, _c.Alignment(ioas));
        Ok(Write(HugePages, ioas, 0));
        Ok(Write(HugePages, ioas, 1));
        Assert.Equal(1ul, _c.Alignment(ioas));
        Fails(EINVAL, Write(HugePages, ioas, 2));
        Fails(ENOENT, Write(HugePages, 0, 0));
        Fails(ENOENT, Write(HugePages, 99, 0));
    }

    [Fact]
    public void Without_huge_pages_areas_must_be_page_aligned()
    {
        uint ioas = _c.IoasAlloc();
        Ok(_c.Map(ioas, 0x10001, Page, 0x10000));
        Fails(EADDRINUSE, Write(HugePages, ioas, 0));
        Assert.Equal((0, 1ul), Read(HugePages, ioas));
        Ok(_c.Unmap(ioas, 0x10000, Page));
        Ok(_c.Map(ioas, 0x10000, Page, 0x10000));
        Ok(Write(HugePages, ioas, 0));
        Fails(EINVAL, _c.Map(ioas, 0x20000, 0x800, 0x20000));
    }

    [Fact]
    public void Huge_pages_cannot_be_switched_off_once_a_domain_holds_areas()
    {
        uint ioas = _c.IoasAlloc();
        Mock mock = _c.MockDomain(ioas);
        Ok(Write(HugePages, ioas, 0));
        Ok(Write(HugePages, ioas, 1));
        ulong va = (ulong)_c.Host.Pages(2);
        Ok(_c.Map(ioas, va, 2 * Page, MockBase));
        Fails(EINVAL, Write(HugePages, ioas, 0));
        Ok(_c.Unmap(ioas, MockBase, 2 * Page));
        Ok(Write(HugePages, ioas, 0));
        Ok(_c.Map(ioas, va, 2 * Page, MockBase));
        Ok(_c.CheckMap(mock.Hwpt, MockBase, va, 2 * Page));
        Ok(Write(HugePages, ioas, 0));
        Ok(Write(HugePages, ioas, 1));
    }

    [Theory]
    [InlineData(2u, 0, EOPNOTSUPP)]
    [InlineData(Rlimit, 2, EOPNOTSUPP)]
    [InlineData(HugePages, 2, EOPNOTSUPP)]
    public void Unknown_options_and_operations_are_EOPNOTSUPP(uint option, ushort op, int errno)
    {
        ulong value = 0;
        uint ioas = option == HugePages ? _c.IoasAlloc() : 0;
        Fails(errno, _c.Option(option, op, ioas, ref value));
    }

    [Fact]
    public void The_reserved_field_must_be_zero()
    {
        var cmd = new iommu_option { op = Get, __reserved = 1 };
        Fails(EOPNOTSUPP, _c.Call(IommuFd.Native.Uapi.Iommufd.IOMMU_OPTION, ref cmd));
    }

    private (int Result, ulong Value) Read(uint option, uint obj)
    {
        ulong value = 77;
        int result = _c.Option(option, Get, obj, ref value);
        return (result, value);
    }

    private int Write(uint option, uint obj, ulong value) => _c.Option(option, Set, obj, ref value);
}
