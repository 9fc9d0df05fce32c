using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>First-stage tables and process directories of user space for the proposal's /dev/iommu.</summary>
public sealed partial class RiscvOps : IUserTables
{
    private const int DirectoryBits = 20;

    /// <inheritdoc/>
    public override IommuFeatures Features(object unit)
    {
        lock (_units)
        {
            return _units.Find(u => u.Unit == unit) is { HasDirectories: true } ? new(1u << DirectoryBits, false, false) : default;
        }
    }

    IReadOnlyList<UserTableFormat> IUserTables.UserTables(IommuDevice device)
    {
        var driver = DriverOf(device);
        if (!driver.HasSecondStage)
        {
            return [];
        }

        var first = new UserTableFormat(iommu_ioasid_format.IOMMU_IOASID_FORMAT_RISCV_S1, false, (uint)driver.AddressBits);
        return device.MaxPasids == 0
            ? [first]
            : [first, new UserTableFormat(iommu_ioasid_format.IOMMU_IOASID_FORMAT_RISCV_PDT, true, 64 + DirectoryBits)];
    }

    int IUserTables.AllocParent(IommuDevice device, out IommuDomain? domain)
    {
        domain = RiscvSecondStageDomain.TryCreate(this, DriverOf(device));
        return domain == null ? -Errno.ENOMEM : 0;
    }

    int IUserTables.AllocUserTable(IommuDevice device, IommuDomain parent, in UserTable table, out IommuDomain? domain)
    {
        domain = parent is RiscvSecondStageDomain second && RiscvUserTableDomain.ModeOf(table) != 0
            ? new RiscvUserTableDomain(this, second, table)
            : null;
        return domain == null ? -Errno.EINVAL : 0;
    }
}
