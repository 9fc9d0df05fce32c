using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// The page requests of a space that was made with IOMMU_IOASID_FAULT: reported by cookie and the user's PASID into the space's fault region, and
/// completed by the user. What nobody reads is answered "invalid".
/// </summary>
/// <remarks>
/// Requests come from devices on any thread, under locks of the unit; answers are given without a lock. DMA that failed for good is reported, too,
/// and not answered.
/// </remarks>
internal sealed class RfcFaults(RfcIoasid ioasid)
{
    private readonly Lock _lock = new();
    private readonly Dictionary<uint, (IoPageFaultGroup Group, RfcAttachHandle Handle)> _pending = [];
    private RfcFaultRegion? _region;
    private uint _lastId;

    /// <summary>Takes the page requests of the devices that use a domain.</summary>
    internal void Connect(IommuDomain domain) => domain.IopfHandler = Report;

    /// <summary>IOMMU_IOASID_FAULT_REGION: -EBUSY when there is one.</summary>
    internal int SetRegion(RfcFaultRegion region)
    {
        lock (_lock)
        {
            if (_region is not null)
            {
                return -Errno.EBUSY;
            }

            _region = region;
            return 0;
        }
    }

    /// <summary>The region's file was closed: what waits is answered.</summary>
    internal void RemoveRegion()
    {
        lock (_lock)
        {
            _region = null;
        }

        Answer(static _ => true);
    }

    /// <summary>IOMMU_IOASID_FAULT_COMPLETE: -EINVAL for a request that is not there, or is another device's.</summary>
    internal int Complete(ulong cookie, uint id, uint code)
    {
        IoPageFaultGroup group;
        lock (_lock)
        {
            if (!_pending.TryGetValue(id, out (IoPageFaultGroup Group, RfcAttachHandle Handle) found) || found.Handle.Device.Cookie != cookie)
            {
                return -Errno.EINVAL;
            }

            _pending.Remove(id);
            group = found.Group;
        }

        group.Respond((iommu_page_response_code)code switch
        {
            iommu_page_response_code.IOMMU_PAGE_RESP_SUCCESS => PageResponseCode.Success,
            iommu_page_response_code.IOMMU_PAGE_RESP_INVALID => PageResponseCode.Invalid,
            _ => PageResponseCode.Failure,
        });
        return 0;
    }

    /// <summary>A slot leaves the space: its requests are answered, and nobody reads them any more.</summary>
    internal void End(RfcSlot slot) => Answer(p => p.Slot == slot);

    /// <summary>DMA that the unit refused for good. The unit is locked.</summary>
    internal void Report(RfcAttachHandle handle, in IoDmaFault fault)
    {
        uint? vpasid = handle.Vpasid ?? (ioasid is RfcUserIoasid { IsPasidTable: true } ? fault.Pasid : null);
        var record = new iommu_ioasid_fault
        {
            ioasid = ioasid.Id,
            flags = Rfc.IOMMU_IOASID_FAULT_UNRECOVERABLE | (vpasid is null ? 0 : Rfc.IOMMU_IOASID_FAULT_PASID_VALID),
            cookie = handle.Device.Cookie,
            addr = fault.Address,
            perm = fault.Permissions,
            reason = (uint)fault.Reason,
            vpasid = vpasid ?? 0,
        };
        RfcFaultRegion? region;
        lock (_lock)
        {
            region = _region;
        }

        if (region?.TryAdd([record]) ?? false)
        {
            region.Announce();
        }
    }

    private void Report(IoPageFaultGroup group)
    {
        var handle = (RfcAttachHandle)group.Handle;
        RfcFaultRegion? region;
        lock (_lock)
        {
            region = _region;
            uint id = ++_lastId;
            if (region is not null && region.TryAdd(Records(group, handle, id)))
            {
                _pending.Add(id, (group, handle));
            }
            else
            {
                region = null;
            }
        }

        if (region is null)
        {
            group.Respond(PageResponseCode.Invalid);
        }
        else
        {
            region.Announce();
        }
    }

    // The user's PASID: the registered one of the slot, or in a table of PASIDs the one in the request.
    private iommu_ioasid_fault[] Records(IoPageFaultGroup group, RfcAttachHandle handle, uint id)
    {
        bool inTable = ioasid is RfcUserIoasid { IsPasidTable: true };
        return [.. group.Faults.Select(fault =>
        {
            uint? vpasid = handle.Vpasid ?? (inTable && (fault.Flags & IoPageFault.PasidValid) != 0 ? fault.Pasid : null);
            return new iommu_ioasid_fault
            {
                ioasid = ioasid.Id,
                flags = (vpasid is null ? 0 : Rfc.IOMMU_IOASID_FAULT_PASID_VALID)
                    | ((fault.Flags & IoPageFault.LastPage) != 0 ? Rfc.IOMMU_IOASID_FAULT_LAST_PAGE : 0),
                cookie = handle.Device.Cookie,
                addr = fault.Address,
                perm = fault.Permissions,
                vpasid = vpasid ?? 0,
                fault_id = id,
            };
        })];
    }

    private void Answer(Func<RfcAttachHandle, bool> which)
    {
        var ended = new List<IoPageFaultGroup>();
        lock (_lock)
        {
            foreach ((uint id, (IoPageFaultGroup group, RfcAttachHandle handle)) in _pending.Where(p => which(p.Value.Handle)).ToArray())
            {
                _pending.Remove(id);
                _region?.Remove(id);
                ended.Add(group);
            }
        }

        ended.ForEach(static group => group.Respond(PageResponseCode.Invalid));
    }
}
