using IommuFd.HwSim.Kernel;
using IommuFd.Native.Uapi;
using Xunit;
using static Conformance.Iommu.IommufdCalls;
using static IommuFd.HwSim.Kernel.iommu_test_cmd;
using static IommuFd.HwSim.Kernel.iommu_test_op;
using static IommuFd.Native.Errno;

namespace Conformance.Iommu;

/// <summary>Attaching PASIDs.</summary>
public sealed class PasidTests : IDisposable
{
    private const uint PASID = (uint)iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_PASID,
        NEST_PARENT = (uint)iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_NEST_PARENT;

    private readonly IommufdCalls _c = new();

    public void Dispose() => _c.Dispose();

    [Fact]
    public void A_pasid_needs_a_table_that_is_made_for_it()
    {
        Setup(out uint ioas, out Mock mock, out uint pasid);
        Fails(EINVAL, Attach(mock, 100, mock.Hwpt));
        Fails(EINVAL, Attach(mock, 100, ioas));

        // The device's own table is not made for it either.
        Fails(EINVAL, Attach(mock, 100, pasid));
        Ok(_c.MockReplace(mock.Stdev, pasid, out _));
        Ok(Attach(mock, 100, pasid));
        Ok(Check(mock, 100, pasid));
        Ok(Check(mock, 101, 0));
        Fails(EINVAL, Check(mock, 100, 0));

        // And it cannot be replaced by one that is not while a PASID is in use.
        Fails(EINVAL, _c.MockReplace(mock.Stdev, _c.HwptAlloc(mock.Idev, ioas), out _));
        Fails(EINVAL, _c.MockReplace(mock.Stdev, ioas, out _));
        Ok(Detach(mock, 100));
        Ok(Check(mock, 100, 0));
        Ok(_c.MockReplace(mock.Stdev, ioas, out _));
    }

    [Fact]
    public void A_device_without_pasids_is_EINVAL()
    {
        uint ioas = _c.IoasAlloc();
        Mock mock = _c.MockDomain(ioas);
        uint pasid = _c.HwptAlloc(mock.Idev, ioas, PASID);
        Ok(_c.MockReplace(mock.Stdev, pasid, out _));
        Fails(EINVAL, Attach(mock, 1, pasid));
    }

    [Theory]
    [InlineData(1u, 0)]
    [InlineData((1u << 20) - 1, 0)]
    [InlineData(1u << 20, EINVAL)]
    [InlineData(uint.MaxValue, EINVAL)]
    public void Pasids_end_where_the_device_ends(uint number, int errno)
    {
        Setup(out _, out Mock mock, out uint pasid);
        Ok(_c.MockReplace(mock.Stdev, pasid, out _));
        Assert.Equal(-errno, Attach(mock, number, pasid));
        if (errno == 0)
        {
            Ok(Detach(mock, number));
        }
    }

    [Fact]
    public void A_pasid_is_attached_once_and_replaced()
    {
        Setup(out uint ioas, out Mock mock, out uint pasid);
        uint other = _c.HwptAlloc(mock.Idev, ioas, PASID);
        Ok(_c.MockReplace(mock.Stdev, pasid, out _));
        Fails(EINVAL, Replace(mock, 7, other));
        Ok(Attach(mock, 7, pasid));
        Fails(EBUSY, Attach(mock, 7, pasid));
        Fails(EBUSY, Attach(mock, 7, other));
        Ok(Replace(mock, 7, other));
        Ok(Check(mock, 7, other));
        Fails(EBUSY, _c.Destroy(other));
        Fails(EINVAL, Replace(mock, 7, _c.HwptAlloc(mock.Idev, ioas)));
        Ok(Check(mock, 7, other));
        Ok(Detach(mock, 7));
        Ok(_c.Destroy(other));
        Ok(Detach(mock, 7));
    }

    [Fact]
    public void A_replace_that_the_driver_refuses_keeps_the_old_table()
    {
        Setup(out uint ioas, out Mock mock, out uint pasid);
        uint other = _c.HwptAlloc(mock.Idev, ioas, PASID);
        Ok(_c.MockReplace(mock.Stdev, pasid, out _));
        Ok(Attach(mock, IOMMU_TEST_PASID_RESERVED, pasid));
        Fails(ENOMEM, Replace(mock, IOMMU_TEST_PASID_RESERVED, other));
        Ok(Check(mock, IOMMU_TEST_PASID_RESERVED, pasid));
        Ok(Replace(mock, IOMMU_TEST_PASID_RESERVED, other));
        Ok(Check(mock, IOMMU_TEST_PASID_RESERVED, other));
        Ok(Detach(mock, IOMMU_TEST_PASID_RESERVED));
    }

    [Fact]
    public void Nested_tables_can_be_attached_to_pasids()
    {
        Setup(out uint ioas, out Mock mock, out uint pasid);
        uint parent = _c.HwptAlloc(mock.Idev, ioas, PASID | NEST_PARENT);
        Ok(_c.NestedAlloc(mock.Idev, parent, PASID, out uint nested));
        Ok(_c.NestedAlloc(mock.Idev, parent, 0, out uint plain));
        Ok(_c.MockReplace(mock.Stdev, pasid, out _));
        Ok(Attach(mock, 9, nested));
        Fails(EINVAL, Attach(mock, 10, plain));
        Fails(EBUSY, _c.Destroy(nested));
        Ok(Replace(mock, 9, parent));
        Ok(_c.Destroy(nested));
        Ok(Detach(mock, 9));
    }

    [Fact]
    public void A_pasid_attachment_reserves_nothing()
    {
        Setup(out _, out Mock mock, out uint pasid);
        Ok(_c.MockReplace(mock.Stdev, pasid, out _));
        uint second = _c.IoasAlloc();
        uint table = _c.HwptAlloc(mock.Idev, second, PASID);
        Ok(Attach(mock, 3, table));
        Assert.Equal([(MOCK_APERTURE_START, MOCK_APERTURE_LAST)], _c.Ranges(second));
        Ok(Detach(mock, 3));
    }

    [Fact]
    public void An_unknown_device_or_table_is_ENOENT()
    {
        Setup(out _, out Mock mock, out uint pasid);
        Fails(ENOENT, Attach(mock with { Stdev = 99 }, 1, pasid));
        Fails(ENOENT, Attach(mock, 1, 99));
        Fails(EINVAL, Attach(mock, 1, mock.Idev));
        Fails(ENOENT, Attach(mock with { Stdev = mock.Idev }, 1, pasid));
        Fails(ENOENT, Check(mock, 1, 99));
        Fails(EINVAL, Check(mock, 1, mock.Idev));
    }

    private void Setup(out uint ioas, out Mock mock, out uint pasidTable)
    {
        ioas = _c.IoasAlloc();
        mock = _c.MockDomain(ioas, MOCK_FLAGS_DEVICE_PASID);
        pasidTable = _c.HwptAlloc(mock.Idev, ioas, PASID);
    }

    private int Attach(Mock mock, uint pasid, uint table) => _c.Pasid(IOMMU_TEST_OP_PASID_ATTACH, mock.Stdev, pasid, table);

    private int Replace(Mock mock, uint pasid, uint table) => _c.Pasid(IOMMU_TEST_OP_PASID_REPLACE, mock.Stdev, pasid, table);

    private int Detach(Mock mock, uint pasid) => _c.Pasid(IOMMU_TEST_OP_PASID_DETACH, mock.Stdev, pasid, 0);

    private int Check(Mock mock, uint pasid, uint table) => _c.Pasid(IOMMU_TEST_OP_PASID_CHECK_HWPT, mock.Stdev, pasid, table);
}
