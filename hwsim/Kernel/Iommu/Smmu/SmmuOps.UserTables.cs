using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// PASID tables of user space for the proposal's /dev/iommu. One page table alone cannot be the user's: the descriptor in front of it is read through
/// stage 2 too.
/// </summary>
public sealed partial class SmmuOps : IUserTables
{
    /// <inheritdoc/>
    public override IommuFeatures Features(object unit)
    {
        lock (_units)
        {
            return _units.Find(u => u.Unit == unit) is { SubstreamBits: > 0 } driver ? new(1u << driver.SubstreamBits, false, false) : default;
        }
    }

    IReadOnlyList<UserTableFormat> IUserTables.UserTables(IommuDevice device) =>
        DriverOf(device) is { HasStage1: true, HasStage2: true } driver && device.MaxPasids != 0
            ? [new UserTableFormat(iommu_ioasid_format.IOMMU_IOASID_FORMAT_ARM_SMMUV3, true,
                64 + Math.Min((uint)driver.SubstreamBits, uint.Log2(device.MaxPasids)))]
            : [];

    int IUserTables.AllocParent(IommuDevice device, out IommuDomain? domain) =>
        DomainAllocPaging(device, (uint)iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_NEST_PARENT, null, out domain);

    int IUserTables.AllocUserTable(IommuDevice device, IommuDomain parent, in UserTable table, out IommuDomain? domain)
    {
        domain = parent is SmmuStage2Domain stage2 ? new SmmuUserTableDomain(this, stage2, table.Address, (int)table.AddressWidth - 64) : null;
        return domain == null ? -Errno.EINVAL : 0;
    }
}
