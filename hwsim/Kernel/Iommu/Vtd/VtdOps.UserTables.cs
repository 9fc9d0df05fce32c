using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>First-stage tables of user space for the proposal's /dev/iommu.</summary>
public sealed partial class VtdOps : IUserTables
{
    IReadOnlyList<UserTableFormat> IUserTables.UserTables(IommuDevice device) => DriverOf(device) is { HasNesting: true } driver
        ? [new UserTableFormat(iommu_ioasid_format.IOMMU_IOASID_FORMAT_VTD_S1, false, driver.HasFirstStage5 ? 57u : 48)]
        : [];

    int IUserTables.AllocParent(IommuDevice device, out IommuDomain? domain)
    {
        const uint Parent = (uint)iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_NEST_PARENT,
            Dirty = (uint)iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_DIRTY_TRACKING;
        return DomainAllocPaging(device, Parent | (DriverOf(device).HasDirtyTracking ? Dirty : 0), null, out domain);
    }

    int IUserTables.AllocUserTable(IommuDevice device, IommuDomain parent, in UserTable table, out IommuDomain? domain)
    {
        domain = null;
        if (parent is not VtdPagingDomain { IsNestParent: true } second || table.AddressWidth is not (48 or 57))
        {
            return -Errno.EINVAL;
        }

        domain = new VtdNestedDomain(this, second, new iommu_hwpt_vtd_s1 { pgtbl_addr = table.Address, addr_width = table.AddressWidth });
        return 0;
    }
}
