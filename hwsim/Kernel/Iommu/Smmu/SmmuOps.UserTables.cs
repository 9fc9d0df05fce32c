using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>Stage-1 tables and tables of context descriptors of user space for the proposal's /dev/iommu.</summary>
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

    IReadOnlyList<UserTableFormat> IUserTables.UserTables(IommuDevice device)
    {
        if (DriverOf(device) is not { HasStage1: true, HasStage2: true } driver)
        {
            return [];
        }

        var page = new UserTableFormat(iommu_ioasid_format.IOMMU_IOASID_FORMAT_ARM_LPAE_S1, false, (uint)driver.OutputBits);
        uint bits = 64 + Math.Min((uint)driver.SubstreamBits, uint.Log2(Math.Max(device.MaxPasids, 1)));
        return device.MaxPasids == 0 ? [page] : [page, new UserTableFormat(iommu_ioasid_format.IOMMU_IOASID_FORMAT_ARM_SMMUV3, true, bits)];
    }

    int IUserTables.AllocParent(IommuDevice device, out IommuDomain? domain) =>
        DomainAllocPaging(device, (uint)iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_NEST_PARENT, null, out domain);

    int IUserTables.AllocUserTable(IommuDevice device, IommuDomain parent, in UserTable table, out IommuDomain? domain)
    {
        domain = null;
        if (parent is not SmmuStage2Domain stage2)
        {
            return -Errno.EINVAL;
        }

        if (table.Format == iommu_ioasid_format.IOMMU_IOASID_FORMAT_ARM_LPAE_S1)
        {
            // T0SZ of a 4 KiB granule is 16 to 39.
            return table.AddressWidth is >= 25 and <= 48 ? SmmuUserPageDomain.Make(this, stage2, table, out domain) : -Errno.EINVAL;
        }

        domain = new SmmuUserTableDomain(this, stage2, table.Address, (int)table.AddressWidth - 64);
        return 0;
    }
}
