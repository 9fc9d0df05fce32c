using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>One attachment of a device, or of one of its PASIDs, to a space (struct iommu_attach_data).</summary>
/// <param name="Device">The device.</param>
/// <param name="Slot">Its routing.</param>
/// <param name="Ioasid">The space.</param>
/// <param name="Hint">What the user said about no-snoop DMA.</param>
internal sealed record RfcAttachment(RfcDevice Device, RfcSlot Slot, RfcIoasid Ioasid, RfcSnoopHint Hint)
{
    /// <summary>
    /// True when no-snoop DMA may reach memory: the device can, the IOMMU does not prevent it, and the user did not say that it will not. The driver
    /// of a device that cannot knows.
    /// </summary>
    public bool IsNoncoherent => Device.CanNoSnoop && Hint != RfcSnoopHint.Snoop && !Ioasid.EnforcesSnoopFor(Device);
}

/// <summary>The hint at attach: whether no-snoop DMA will really be used.</summary>
internal enum RfcSnoopHint
{
    /// <summary>None was given: it may be.</summary>
    None,

    /// <summary>It will be.</summary>
    NoSnoop,

    /// <summary>It will not be.</summary>
    Snoop,
}

/// <summary>What leads from a page request back to the user's names.</summary>
internal sealed class RfcAttachHandle(RfcSlot slot, RfcDevice device, RfcIoasid ioasid) : IommuAttachHandle
{
    /// <summary>The slot.</summary>
    internal RfcSlot Slot { get; } = slot;

    /// <summary>The device, or of several that cannot be told apart the first.</summary>
    internal RfcDevice Device { get; } = device;

    /// <summary>The space.</summary>
    internal RfcIoasid Ioasid { get; } = ioasid;

    /// <summary>The user's PASID; null for a default space.</summary>
    internal uint? Vpasid { get; } = slot.Vpasid;
}

/// <summary>
/// The value that routes requests to a page table: [RID] or [RID, PASID]. A device may be attached to a space and to children of it at the same time;
/// the lowest of them translates. Nothing attached: DMA is blocked.
/// </summary>
/// <param name="group">The devices that cannot be told apart; null for a device that no IOMMU translates for.</param>
/// <param name="pasid">The physical PASID; <see cref="IommuGroup.NoPasid"/> for requests without one.</param>
internal sealed class RfcSlot(IommuGroup? group, uint pasid)
{
    private readonly List<RfcAttachment> _attachments = [];

    /// <summary>The devices of the requester id; null for a device that no IOMMU translates for.</summary>
    internal IommuGroup? Group { get; } = group;

    /// <summary>The physical PASID.</summary>
    internal uint Pasid { get; } = pasid;

    /// <summary>The user's PASID; null for a default space.</summary>
    internal uint? Vpasid { get; init; }

    /// <summary>The space that translates; null while DMA is blocked.</summary>
    internal RfcIoasid? Effective { get; private set; }

    /// <summary>The attachments.</summary>
    internal IReadOnlyList<RfcAttachment> Attachments => _attachments;

    /// <summary>
    /// Attaches: -EINVAL when the device is on this space already or does not fit it; -EBUSY when the slot is another device's, when the device is on
    /// a space that is neither above nor below, or when a member of its group would be taken along.
    /// </summary>
    internal int Attach(RfcDevice device, RfcIoasid ioasid, RfcSnoopHint hint)
    {
        RfcIoasid lowest = ioasid;
        foreach (RfcAttachment other in _attachments)
        {
            if (other.Device != device)
            {
                // Another member of the group shares the slot of requests without PASID; the same device through another file does not.
                if (Pasid != IommuGroup.NoPasid || other.Device.Vfio == device.Vfio)
                {
                    return -Errno.EBUSY;
                }

                continue;
            }

            if (other.Ioasid == ioasid)
            {
                return -Errno.EINVAL;
            }

            if (!ioasid.IsBelow(other.Ioasid) && !other.Ioasid.IsBelow(ioasid))
            {
                return -Errno.EBUSY;
            }

            lowest = other.Ioasid.IsBelow(lowest) ? other.Ioasid : lowest;
        }

        if (Effective != lowest && _attachments.Exists(a => a.Device != device))
        {
            return -Errno.EBUSY;
        }

        var attachment = new RfcAttachment(device, this, ioasid, hint);
        int error = ioasid.Activate(attachment);
        if (error < 0)
        {
            return error;
        }

        error = Switch(device, lowest);
        if (error < 0)
        {
            ioasid.Deactivate(attachment);
            return error;
        }

        _attachments.Add(attachment);
        ioasid.Attachments++;
        return 0;
    }

    /// <summary>Detaches: -EINVAL when the device is not on this space, -EBUSY while it is on a child of it.</summary>
    internal int Detach(RfcDevice device, RfcIoasid ioasid)
    {
        if (_attachments.Find(a => a.Device == device && a.Ioasid == ioasid) is not { } attachment)
        {
            return -Errno.EINVAL;
        }

        RfcIoasid? lowest = null;
        foreach (RfcAttachment other in _attachments)
        {
            if (other.Device != device || other == attachment)
            {
                continue;
            }

            if (other.Ioasid.IsBelow(ioasid))
            {
                return -Errno.EBUSY;
            }

            lowest = lowest is null || other.Ioasid.IsBelow(lowest) ? other.Ioasid : lowest;
        }

        // Other members of the group stay where they are.
        _attachments.Remove(attachment);
        _ = Switch(device, _attachments.Exists(a => a.Device != device) ? Effective : lowest);
        ioasid.Attachments--;
        ioasid.Deactivate(attachment);
        return 0;
    }

    /// <summary>Detaches everything of a device, children first.</summary>
    internal void DetachAll(RfcDevice device)
    {
        while (_attachments.Where(a => a.Device == device).MaxBy(static a => a.Ioasid.Depth) is { } attachment)
        {
            _ = Detach(device, attachment.Ioasid);
        }
    }

    private int Switch(RfcDevice device, RfcIoasid? next)
    {
        if (next == Effective)
        {
            return 0;
        }

        int error = Group is null ? 0 : Install(device, next);
        if (error == 0)
        {
            // Requests that came through the old space cannot be retried there.
            Effective?.Faults?.End(this);
            Effective = next;
        }

        return error;
    }

    // From one table to the next with nothing in between, or to the empty one of blocked DMA; never to the host's.
    private int Install(RfcDevice device, RfcIoasid? next)
    {
        if (next is null)
        {
            if (Pasid == IommuGroup.NoPasid)
            {
                Group!.DetachGroupHandle();
            }
            else
            {
                Group!.DetachDevicePasid(Effective!.Domain!, Pasid);
            }

            device.Context.Module.Route(this, null);
            return 0;
        }

        var handle = new RfcAttachHandle(this, device, next);
        int error = Pasid == IommuGroup.NoPasid ? Group!.InstallMsi(next.Domain!) : 0;
        if (error < 0)
        {
            return error;
        }

        error = (Pasid == IommuGroup.NoPasid, Effective is null) switch
        {
            (true, true) => Group!.AttachGroupHandle(next.Domain!, handle),
            (true, false) => Group!.ReplaceGroupHandle(next.Domain!, handle),
            (false, true) => Group!.AttachDevicePasid(device.Iommu, next.Domain!, Pasid, handle),
            (false, false) => Group!.ReplaceDevicePasid(device.Iommu, next.Domain!, Pasid, handle),
        };
        if (error == 0)
        {
            device.Context.Module.Route(this, handle);
        }

        return error;
    }
}
