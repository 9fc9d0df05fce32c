using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>The spaces of a device: its default one, and one for each of the user's PASIDs.</summary>
internal sealed partial class RfcDevice
{
    private readonly SortedDictionary<uint, RfcSlot> _vpasids = [];
    private RfcSlot? _default;

    /// <summary>
    /// Attaches a space: the default one, or that of a PASID. -EINVAL for a PASID on a device that has none, whose PASID table is the user's, or that
    /// is out of range.
    /// </summary>
    internal int Attach(RfcIoasid ioasid, uint? vpasid, RfcSnoopHint hint)
    {
        if (hint == RfcSnoopHint.NoSnoop && (!CanNoSnoop || ioasid.EnforcesSnoopFor(this)))
        {
            return -Errno.EINVAL;
        }

        int error = vpasid is { } number ? GetSlot(number, out RfcSlot? slot) : GetDefault(out slot);
        if (error < 0)
        {
            return error;
        }

        error = slot!.Attach(this, ioasid, hint);
        if (error < 0)
        {
            Release(slot);
        }

        return error;
    }

    /// <summary>Detaches a space.</summary>
    internal int Detach(RfcIoasid ioasid, uint? vpasid)
    {
        if (SlotOf(vpasid) is not { } slot)
        {
            return -Errno.EINVAL;
        }

        int error = slot.Detach(this, ioasid);
        Release(slot);
        return error;
    }

    /// <summary>True when a PASID of the user's has a space.</summary>
    internal bool HasPasidSpaces => _vpasids.Count != 0;

    /// <summary>True when a no-snoop request of the device could reach memory as such.</summary>
    internal bool HasNoncoherentDma =>
        _vpasids.Values.Append(_default).Any(s => s?.Attachments.Any(a => a.Device == this && a.IsNoncoherent) ?? false);

    /// <summary>The routing of the default space or of a PASID; null when nothing is attached there.</summary>
    internal RfcSlot? SlotOf(uint? vpasid) => vpasid is { } number ? _vpasids.GetValueOrDefault(number) : _default;

    /// <summary>The routing of the user's PASID that leads to a space; null for none.</summary>
    internal RfcSlot? SlotOf(RfcIoasid ioasid, uint vpasid) => _vpasids.GetValueOrDefault(vpasid) is { } slot
        && slot.Effective == ioasid ? slot : null;

    private void DetachAll()
    {
        foreach (RfcSlot slot in _vpasids.Values.ToArray())
        {
            slot.DetachAll(this);
            Release(slot);
        }

        if (_default is { } last)
        {
            last.DetachAll(this);
            Release(last);
        }
    }

    private int GetDefault(out RfcSlot? slot)
    {
        // A mediated device's default space is one of its parent's PASIDs.
        _default ??= IsSoftware ? new RfcSlot(null, IommuGroup.NoPasid) : Context.Module.SlotOf(Iommu.Group!, DefaultPasid);
        slot = _default;
        return 0;
    }

    private int GetSlot(uint vpasid, out RfcSlot? slot)
    {
        slot = null;
        if (!Pasids.HasVpasids || Pasids.IsDelegated || vpasid == 0 || vpasid >> (int)Pasids.Width != 0 || Context.HasCpuPasidsUnlike(Pasids))
        {
            return -Errno.EINVAL;
        }

        if (!_vpasids.TryGetValue(vpasid, out slot))
        {
            slot = Context.Module.SlotOf(Iommu.Group!, PhysicalPasid(vpasid), vpasid);
            _vpasids.Add(vpasid, slot);
        }

        return 0;
    }

    // A number of the parent's pool, or of the machine's, where CPU instructions carry it: then one for all devices of the file.
    private uint PhysicalPasid(uint vpasid) => Pasids.Type switch
    {
        RfcPasidType.MediatedPasid => Context.Module.Pasids.Allocate(Iommu.Group!),
        RfcPasidType.MediatedEnqcmd => Context.GetCpuPasid(vpasid),
        _ => vpasid,
    };

    private void Release(RfcSlot slot)
    {
        if (slot.Attachments.Any(a => a.Device == this))
        {
            return;
        }

        Context.Module.Release(slot);
        if (slot == _default)
        {
            _default = null;
        }
        else if (slot.Vpasid is { } vpasid && _vpasids.Remove(vpasid))
        {
            if (Pasids.Type == RfcPasidType.MediatedPasid)
            {
                Context.Module.Pasids.Free(slot.Group!, slot.Pasid);
            }
            else if (Pasids.Type == RfcPasidType.MediatedEnqcmd)
            {
                Context.PutCpuPasid(vpasid);
            }
        }
    }
}
