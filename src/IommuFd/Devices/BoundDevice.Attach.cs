using IommuFd.Native;

namespace IommuFd;

/// <content>Attaching. What routes DMA to a table is [device] or [device, PASID]; each such slot may have several attachments, the lowest of which
/// translates.</content>
public sealed partial class BoundDevice
{
    private readonly Lock _attachGate = new();
    private readonly List<Attachment> _attachments = []; // in the order in which they take over from each other: the last one of a slot is in effect
    private int _pasidWidth = -1; // not asked yet

    /// <summary>Width in bits of the PASIDs that device and IOMMU can use; 0 without any.</summary>
    internal int PasidWidth
    {
        get
        {
            if (_pasidWidth < 0)
            {
                _pasidWidth = Context.Kind switch
                {
                    ContextKind.Container => 0,
                    ContextKind.Rfc => Calls.GetPasidCapability()?.Width ?? 0,
                    _ => Context.MaxPasidLog2(DeviceId),
                };
            }

            return _pasidWidth;
        }
    }

    /// <summary>
    /// Lets the device's DMA reach an address space. A child takes over from its parent, to which the device may stay attached (RFC v2 4.3 to 4.5); a
    /// space that is neither above nor below replaces what was in effect, at once where the kernel can. The permitted ranges of the space are asked
    /// again when they are wanted.
    /// </summary>
    /// <param name="space">The space.</param>
    /// <param name="pasid">The PASID that the DMA carries, or null for DMA without one.</param>
    /// <exception cref="ArgumentException">The space belongs to another context.</exception>
    /// <exception cref="IommuFdException">
    /// EINVAL another device of the group is attached elsewhere, the IOMMU cannot use the table, or the device is attached to this space already;
    /// EADDRINUSE a reserved range meets a mapping; EOPNOTSUPP no PASIDs here.
    /// </exception>
    public Attachment Attach(AddressSpace space, uint? pasid = null)
    {
        ArgumentNullException.ThrowIfNull(space);
        if (pasid is { } number && (PasidWidth == 0 || number >> PasidWidth != 0))
        {
            throw _group is not null
                ? Failure.Because(
                    "attach", Errno.EOPNOTSUPP, FailureCause.NotSupported, "a container has one address space for each group, and no PASIDs",
                    "Use a kernel with /dev/iommu.",
                    new Evidence("device", $"{Address}"), new Evidence("context", $"{Context.Kind}"))
                : Failure.Because(
                    "attach", PasidWidth == 0 ? Errno.EOPNOTSUPP : Errno.EINVAL, FailureCause.NotSupported,
                    PasidWidth == 0 ? "device and IOMMU have no PASIDs" : $"PASIDs of this device have {PasidWidth} bits",
                    PasidWidth == 0 ? "Attach without a PASID, or use a device that has the capability behind an IOMMU with PASID tables."
                        : "Use a smaller number.",
                    new Evidence("device", $"{Address}"), new Evidence("out_max_pasid_log2", $"{PasidWidth}"), new Evidence("pasid", $"{number}"));
        }

        return Attach(space, space.Context, pasid);
    }

    /// <summary>Lets the device's DMA go through a hardware page table; with a PASID only the DMA that carries it.</summary>
    /// <param name="table">The table, made for this device's IOMMU; for a PASID with IOMMU_HWPT_ALLOC_PASID.</param>
    /// <param name="pasid">The PASID, or null for DMA without one.</param>
    /// <exception cref="ArgumentException">The table belongs to another context.</exception>
    /// <exception cref="IommuFdException">EINVAL the device cannot use the table, EBUSY the PASID is in use, EOPNOTSUPP no PASID here.</exception>
    public Attachment Attach(HardwareTable table, uint? pasid = null)
    {
        ArgumentNullException.ThrowIfNull(table);
        return Attach(table, table.Context, pasid);
    }

    private Attachment Attach(Resource target, IommuContext owner, uint? pasid)
    {
        if (owner != Context)
        {
            throw new ArgumentException("What is attached belongs to another context than the device.", nameof(target));
        }

        Enter();
        if (!target.TryEnter())
        {
            Exit();
            ObjectDisposedException.ThrowIf(true, target);
        }

        Attachment attachment = new(this, target, pasid);
        try
        {
            lock (_attachGate)
            {
                Add(attachment);
            }
        }
        catch
        {
            target.Exit();
            Exit();
            throw;
        }

        attachment.Space?.RangesChanged();
        return attachment;
    }

    private void Add(Attachment attachment)
    {
        int before = _attachments.Count; // in front of the children of the new space, else last
        for (int i = _attachments.Count - 1; i >= 0; i--)
        {
            Attachment other = _attachments[i];
            if (other.Pasid != attachment.Pasid)
            {
                continue;
            }

            if (other.Target == attachment.Target && other.Space is not null)
            {
                throw Failure.Because(
                    "attach", Errno.EINVAL, FailureCause.ObjectInUse, "the device is attached to this space already",
                    "Dispose the first attachment before.",
                    new Evidence("device", $"{Address}"), new Evidence("pasid", $"{attachment.Pasid}"));
            }

            if (attachment.Space is { } space && other.Space?.IsBelow(space) == true)
            {
                before = i;
            }
        }

        if (before == _attachments.Count || Context.Kind == ContextKind.Rfc)
        {
            Install(attachment);
        }

        _attachments.Insert(before, attachment);
    }

    private void Install(Attachment attachment)
    {
        attachment.TableId = attachment.Target switch
        {
            AddressSpace space => space.Install(this, attachment.Pasid),
            HardwareTable table => Calls.Attach(table.Id, attachment.Pasid),
            _ => 0,
        };
        if (attachment.Space is MappedAddressSpace mapped)
        {
            mapped.Backend.Attached(this, attached: true);
        }
    }

    /// <summary>Takes an attachment away. What was in effect before takes over again, or the DMA is blocked.</summary>
    internal void Detach(Attachment attachment)
    {
        lock (_attachGate)
        {
            bool inEffect = InEffect(attachment.Pasid) == attachment;
            _ = _attachments.Remove(attachment);
            if (Context.Kind == ContextKind.Rfc)
            {
                DetachIoasid(attachment);
                return;
            }

            if (!inEffect)
            {
                return;
            }

            if (InEffect(attachment.Pasid) is { } next)
            {
                try
                {
                    Install(next);
                    return;
                }
                catch (IommuFdException)
                {
                    // It cannot come back: blocked is what remains.
                }
            }

            if (_group is null)
            {
                _ = Calls.DetachCall(attachment.Pasid);
            }
            else
            {
                _ = _group.Switch(this, null);
            }
        }
    }

    private Attachment? InEffect(uint? pasid)
    {
        for (int i = _attachments.Count - 1; i >= 0; i--)
        {
            if (_attachments[i].Pasid == pasid)
            {
                return _attachments[i];
            }
        }

        return null;
    }

    /// <summary>Installs a space that is no object of mainline.</summary>
    internal uint InstallBackend(IMappingBackend backend, uint? pasid)
    {
        if (backend is RfcBackend { Ioasid: var ioasid })
        {
            return InstallIoasid(ioasid, pasid);
        }

        int result = backend is ContainerSpace space && pasid is null && _group is not null ? _group.Switch(this, space) : -Errno.EOPNOTSUPP;
        return result >= 0
            ? 0u
            : throw Failure.Of("attach container", result, new Evidence("device", $"{Address}"), new Evidence("group", $"{_group?.Number}"));
    }
}
