using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>Hardware nesting: a child whose table the user manages. The IOMMU walks it, and for what it puts out the parent's table.</summary>
/// <param name="context">Its file.</param>
/// <param name="parent">The space that its addresses lead into.</param>
/// <param name="table">The user's table.</param>
/// <param name="isPasidTable">True when the table holds all PASIDs of a device.</param>
internal sealed class RfcUserIoasid(RfcContext context, RfcKernelIoasid parent, UserTable table, bool isPasidTable)
    : RfcIoasid(context, parent, Math.Min(table.AddressWidth, 64))
{
    private IommuDomain? _domain;
    private int _users;

    /// <summary>True when the table holds all PASIDs of a device.</summary>
    internal bool IsPasidTable { get; } = isPasidTable;

    /// <inheritdoc/>
    internal override IommuDomain? Domain => _domain;

    /// <inheritdoc/>
    internal override bool EnforcesSnoopFor(RfcDevice device) => parent.EnforcesSnoopFor(device);

    /// <inheritdoc/>
    internal override int Activate(RfcAttachment attachment)
    {
        RfcDevice device = attachment.Device;
        if (device.UserTables.FirstOrDefault(f => f.Format == table.Format && f.IsPasidTable == IsPasidTable) is not { Format: not 0 } format
            || table.AddressWidth > format.AddressWidth)
        {
            return -Errno.EINVAL;
        }

        // One PASID table is one device's; it stands under the device itself, not under one of its PASIDs.
        if (IsPasidTable && (_users != 0 || attachment.Slot.Pasid != IommuGroup.NoPasid))
        {
            return -Errno.EINVAL;
        }

        int error = parent.Reserve(attachment);
        if (error == 0)
        {
            error = Make(device);
            if (error < 0)
            {
                parent.Pagetable.RemoveReserved(attachment);
            }
        }

        return error;
    }

    /// <inheritdoc/>
    internal override void Deactivate(RfcAttachment attachment)
    {
        parent.Pagetable.RemoveReserved(attachment);
        if (--_users == 0)
        {
            _domain!.Free();
            _domain = null;
        }

        parent.ReleaseNestParent();
    }

    /// <summary>IOMMU_INVALIDATE_CACHE.</summary>
    internal void Invalidate(in UserTableChange change) => (_domain as IUserTableDomain)?.Invalidate(change);

    private int Make(RfcDevice device)
    {
        int error = parent.GetNestParent(device, out IommuDomain? lower);
        if (error < 0)
        {
            return error;
        }

        if (_domain is null)
        {
            error = ((IUserTables)device.Iommu.Ops!).AllocUserTable(device.Iommu, lower!, table, out _domain);
            if (error == 0)
            {
                // Interrupt doorbells are in the kernel's table; the user's must lead to the window in it.
                _domain!.Cookie = lower!.Cookie;
                Faults?.Connect(_domain!);
            }
        }
        else if (_domain.Owner != device.Iommu.Ops)
        {
            error = -Errno.EINVAL;
        }

        if (error < 0)
        {
            parent.ReleaseNestParent();
            return error;
        }

        _users++;
        return 0;
    }
}
