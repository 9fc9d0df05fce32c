using System.Collections.Concurrent;

namespace IommuFd.HwSim.Kernel;

/// <summary>The proposed /dev/iommu of one machine: what all of its open files share.</summary>
/// <remarks>
/// One lock puts all commands of the dialect in order. Does not model: page tables shared with a CPU (out of the proposal's scope), sub-groups,
/// page-granular enforced snooping, the bulk cache flush.
/// </remarks>
internal sealed class RfcModule(IommufdModule iommufd, VfioCore vfio)
{
    private readonly Dictionary<(IommuGroup Group, uint Pasid), RfcSlot> _slots = [];

    // Read while a unit is locked.
    private readonly ConcurrentDictionary<(ushort RequesterId, uint Pasid), RfcAttachHandle> _routes = new();

    /// <summary>Held by every command.</summary>
    internal Lock Lock { get; } = new();

    /// <summary>VFIO of the machine.</summary>
    internal VfioCore Vfio { get; } = vfio;

    /// <summary>The PASIDs that are given out.</summary>
    internal RfcPasids Pasids { get; } = new();

    /// <summary>Bind devices whose interrupts the platform cannot isolate (module parameter allow_unsafe_interrupts).</summary>
    internal bool AllowUnsafeInterrupts => iommufd.AllowUnsafeInterrupts;

    /// <summary>The pools that the address maps of an open file take their areas and pages from.</summary>
    internal IommufdContext OpenPools() => iommufd.Open();

    /// <summary>Opens /dev/iommu.</summary>
    internal RfcContext Open() => new(this);

    /// <summary>The slot of a requester id, or of one of its PASIDs. The lock is held.</summary>
    /// <param name="group">The devices that the requester id cannot be told apart from.</param>
    /// <param name="pasid">The physical PASID; <see cref="IommuGroup.NoPasid"/> for requests without one.</param>
    /// <param name="vpasid">The user's PASID; null for a default space.</param>
    internal RfcSlot SlotOf(IommuGroup group, uint pasid, uint? vpasid = null)
    {
        if (!_slots.TryGetValue((group, pasid), out RfcSlot? slot))
        {
            _slots[(group, pasid)] = slot = new RfcSlot(group, pasid) { Vpasid = vpasid };
        }

        return slot;
    }

    /// <summary>Forgets a slot that nothing is attached to. The lock is held.</summary>
    internal void Release(RfcSlot slot)
    {
        if (slot.Effective is null && slot.Group is not null)
        {
            _slots.Remove((slot.Group, slot.Pasid));
        }
    }

    /// <summary>What refused DMA of a slot is reported through; null when nothing is attached any more.</summary>
    internal void Route(RfcSlot slot, RfcAttachHandle? handle)
    {
        foreach (IommuDevice device in slot.Group!.Devices)
        {
            if (handle is null)
            {
                _ = _routes.TryRemove((device.RequesterId, slot.Pasid), out _);
            }
            else
            {
                _routes[(device.RequesterId, slot.Pasid)] = handle;
                device.Ops!.Faulted ??= Report;
            }
        }
    }

    // A PASID without an attachment of its own may be one of a user's table.
    private void Report(IoDmaFault fault)
    {
        if (_routes.TryGetValue((fault.RequesterId, fault.Pasid ?? IommuGroup.NoPasid), out RfcAttachHandle? handle)
            || (_routes.TryGetValue((fault.RequesterId, IommuGroup.NoPasid), out handle) && handle.Ioasid is RfcUserIoasid { IsPasidTable: true }))
        {
            handle.Ioasid.Faults?.Report(handle, fault);
        }
    }
}
