using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>v2 tables and GCR3 tables of user space for the proposal's /dev/iommu.</summary>
public sealed partial class AmdOps : IUserTables
{
    /// <inheritdoc/>
    public override IommuFeatures Features(object unit)
    {
        lock (_units)
        {
            return _units.Find(u => u.Unit == unit) is { HasGuestTranslation: true } driver ? new(1u << PasidBits(driver), false, false) : default;
        }
    }

    IReadOnlyList<UserTableFormat> IUserTables.UserTables(IommuDevice device)
    {
        if (!DriverOf(device).HasGuestTranslation)
        {
            return [];
        }

        var page = new UserTableFormat(iommu_ioasid_format.IOMMU_IOASID_FORMAT_AMD_V2, false, 48);
        return device.MaxPasids == 0
            ? [page]
            : [page, new UserTableFormat(iommu_ioasid_format.IOMMU_IOASID_FORMAT_AMD_GUEST, true, 64 + uint.Log2(device.MaxPasids))];
    }

    int IUserTables.AllocParent(IommuDevice device, out IommuDomain? domain)
    {
        var driver = DriverOf(device);
        domain = AmdHostDomain.TryCreate(this, IommuDomainType.Unmanaged, driver, driver.HasDirtyTracking);
        return domain == null ? -Errno.ENOMEM : 0;
    }

    int IUserTables.AllocUserTable(IommuDevice device, IommuDomain parent, in UserTable table, out IommuDomain? domain)
    {
        domain = null;
        if (parent is not AmdHostDomain host)
        {
            return -Errno.EINVAL;
        }

        if (table.Format == iommu_ioasid_format.IOMMU_IOASID_FORMAT_AMD_V2)
        {
            // Four levels.
            return table.AddressWidth == 48 ? AmdUserTableDomain.MakeSingle(this, host, table.Address, out domain) : -Errno.EINVAL;
        }

        domain = new AmdUserTableDomain(this, host, table.Address, (int)table.AddressWidth - 64);
        return 0;
    }

    private static int PasidBits(AmdDriver driver) => Math.Min(20, 9 * driver.GcrLevels);
}
