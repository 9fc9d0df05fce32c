using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// PASID tables of user space for the proposal's /dev/iommu. One page table alone cannot be the user's: the GCR3 table in front of it is read through
/// the host table too.
/// </summary>
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

    IReadOnlyList<UserTableFormat> IUserTables.UserTables(IommuDevice device) => device.MaxPasids != 0 && DriverOf(device).HasGuestTranslation
        ? [new UserTableFormat(iommu_ioasid_format.IOMMU_IOASID_FORMAT_AMD_GUEST, true, 64 + uint.Log2(device.MaxPasids))]
        : [];

    int IUserTables.AllocParent(IommuDevice device, out IommuDomain? domain)
    {
        var driver = DriverOf(device);
        domain = AmdHostDomain.TryCreate(this, IommuDomainType.Unmanaged, driver, driver.HasDirtyTracking);
        return domain == null ? -Errno.ENOMEM : 0;
    }

    int IUserTables.AllocUserTable(IommuDevice device, IommuDomain parent, in UserTable table, out IommuDomain? domain)
    {
        domain = parent is AmdHostDomain host ? new AmdUserTableDomain(this, host, table.Address, (int)table.AddressWidth - 64) : null;
        return domain == null ? -Errno.EINVAL : 0;
    }

    private static int PasidBits(AmdDriver driver) => Math.Min(20, 9 * driver.GcrLevels);
}
