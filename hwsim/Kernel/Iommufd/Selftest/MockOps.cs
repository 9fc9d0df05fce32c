using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// The kernel's mock IOMMU driver (drivers/iommu/iommufd/selftest.c), which nesting, dirty tracking, PASIDs and page requests can be tested with
/// where no hardware has them.
/// </summary>
/// <remarks>Does not model: the format of its tables (AMDv1 with pages of 2 KiB); what is mapped is kept as a list.</remarks>
internal sealed class MockOps : IommuOps
{
    private const uint PagingFlags = (uint)(iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_DIRTY_TRACKING |
        iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_NEST_PARENT | iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_PASID);

    private readonly MockBlockedDomain _blocked;

    internal MockOps() => _blocked = new MockBlockedDomain(this);

    public override IommuDomain BlockedDomain => _blocked;

    public override bool HasNested => true;

    public override bool HasUserPasidTable => true;

    public override bool HasHardwareInfo => true;

    public override bool Capable(IommuDevice device, IommuCapability capability) => capability switch
    {
        IommuCapability.CacheCoherency => true,
        IommuCapability.DirtyTracking => !HasNoDirty(device),
        _ => false,
    };

    public override int DomainAllocPaging(IommuDevice device, uint flags, IommuUserData? data, out IommuDomain? domain)
    {
        domain = null;
        var tracksDirty = (flags & (uint)iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_DIRTY_TRACKING) != 0;
        if ((flags & ~PagingFlags) != 0 || (tracksDirty && HasNoDirty(device)))
        {
            return -Errno.EOPNOTSUPP;
        }

        if (data is { Type: not (iommu_test_cmd.IOMMU_HWPT_DATA_SELFTEST or (uint)iommu_hwpt_data_type.IOMMU_HWPT_DATA_NONE) })
        {
            return -Errno.EOPNOTSUPP;
        }

        var config = default(iommu_hwpt_selftest);
        if (data is { } given)
        {
            var rc = given.Copy(iommu_test_cmd.IOMMU_HWPT_DATA_SELFTEST, 4, out config);
            if (rc != 0)
            {
                return rc;
            }
        }

        if (config.pagetable_type > iommu_test_cmd.MOCK_IOMMUPT_HUGE)
        {
            return -Errno.EOPNOTSUPP;
        }

        domain = new MockPagingDomain(this, config.pagetable_type == iommu_test_cmd.MOCK_IOMMUPT_HUGE, tracksDirty);
        return 0;
    }

    public override IommuDomain DomainAllocDefault(IommuDevice device) => _blocked;

    public override int DomainAllocNested(IommuDevice device, IommuDomain parent, uint flags, in IommuUserData data, out IommuDomain? domain)
    {
        var rc = AllocNested(null, flags, data, out var nested);
        domain = nested;
        return rc;
    }

    public override int HardwareInfo(IommuDevice device, ref uint type, Span<byte> data)
    {
        if (type is not ((uint)iommu_hw_info_type.IOMMU_HW_INFO_TYPE_DEFAULT or iommu_test_cmd.IOMMU_HW_INFO_TYPE_SELFTEST))
        {
            return -Errno.EOPNOTSUPP;
        }

        type = iommu_test_cmd.IOMMU_HW_INFO_TYPE_SELFTEST;
        MemoryMarshal.Write(data, (ulong)iommu_test_cmd.IOMMU_HW_INFO_SELFTEST_REGVAL << 32);
        return 8;
    }

    internal override bool HasViommu(IommuDevice device, uint type) => type == iommu_test_cmd.IOMMU_VIOMMU_TYPE_SELFTEST;

    internal override IommufdViommu ViommuNew(IommufdContext context, IommuDevice device, uint type, HwptPaging parent) =>
        new MockViommu(context, this, parent);

    internal int AllocNested(MockViommu? viommu, uint flags, in IommuUserData data, out MockNestedDomain? domain)
    {
        domain = null;
        if ((flags & ~(uint)iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_PASID) != 0 || data.Type != iommu_test_cmd.IOMMU_HWPT_DATA_SELFTEST)
        {
            return -Errno.EOPNOTSUPP;
        }

        var rc = data.Copy(iommu_test_cmd.IOMMU_HWPT_DATA_SELFTEST, 4, out iommu_hwpt_selftest config);
        if (rc == 0)
        {
            domain = new MockNestedDomain(this, viommu, config.iotlb);
        }

        return rc;
    }

    private static bool HasNoDirty(IommuDevice device) => (((MockDevice)device).Flags & iommu_test_cmd.MOCK_FLAGS_DEVICE_NO_DIRTY) != 0;
}
