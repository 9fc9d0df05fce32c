using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

public sealed partial class IommufdDevice
{
    private delegate int DoAttach(IommufdDevice device, uint pasid, HwPagetable hwpt, out HwPagetable? replaced);

    /// <summary>
    /// Connects the device, or one of its PASIDs, to a table: to the one that is named, or, for an address space, to a fitting one that was made this
    /// way before or to a new one (iommufd_device_attach).
    /// </summary>
    /// <param name="pasid">0 for requests without PASID.</param>
    /// <param name="ptId">In: an address space or a hardware page table. Out: the table.</param>
    /// <returns>
    /// 0; -ENOENT for an unknown id; -EINVAL for an object of another type, a table that does not fit the device, or a group that is attached to
    /// another table; -EADDRINUSE when a reserved range of the device is mapped or allowed already; -EBUSY when the device is attached already.
    /// </returns>
    public int Attach(uint pasid, ref uint ptId)
    {
        var rc = ChangeTable(pasid, ref ptId, DoAttachTable);
        if (rc == 0)
        {
            _object.AddUser();
        }

        return rc;
    }

    /// <summary>
    /// Changes the table with no refused DMA in between (iommufd_device_replace): -EINVAL when nothing is attached. The whole group moves.
    /// </summary>
    /// <inheritdoc cref="Attach"/>
    public int Replace(uint pasid, ref uint ptId) => ChangeTable(pasid, ref ptId, DoReplaceTable);

    /// <summary>Disconnects: DMA is refused from now on (iommufd_device_detach). Nothing happens when nothing is attached.</summary>
    /// <param name="pasid">0 for requests without PASID.</param>
    public void Detach(uint pasid)
    {
        if (DetachTable(pasid) is { } hwpt)
        {
            PutTable(hwpt);
            _object.DropUser();
        }
    }

    /// <summary>iommufd_hw_pagetable_attach.</summary>
    internal int AttachTable(HwPagetable hwpt, uint pasid)
    {
        var reserves = pasid == IommuGroup.NoPasid && !IsNoIommu;
        var pagetable = hwpt.Paging.Ioas.Pagetable;
        lock (Group.Lock)
        {
            var attach = Group.Attach(pasid);
            if (attach != null && attach.Devices.Contains(this))
            {
                return -Errno.EBUSY;
            }

            if (attach != null && attach.Hwpt != hwpt)
            {
                return -Errno.EINVAL;
            }

            if (reserves)
            {
                var rc = AttachReservedIova(hwpt.Paging, isFirst: attach == null);
                if (rc != 0)
                {
                    return rc;
                }
            }

            // The first device attaches the group; the others add what is reserved for them.
            if (attach == null)
            {
                var rc = AttachDomain(hwpt, pasid, replace: false);
                if (rc != 0)
                {
                    if (reserves)
                    {
                        pagetable.RemoveReserved(Device);
                    }

                    return rc;
                }

                attach = new IommufdAttach(hwpt);
                Group.SetAttach(pasid, attach);
            }

            hwpt.AddUser();
            attach.Devices.Add(this);
            return 0;
        }
    }

    /// <summary>iommufd_sw_msi, for the device's group: see <see cref="IommuGroup.PrepareMsi"/>.</summary>
    internal int PrepareMsi(HwptPaging hwpt, ulong doorbell, ref ulong address) => Context.SwMsi(Group, hwpt, doorbell, ref address);

    // iommufd_device_attach_reserved_iova
    private int AttachReservedIova(HwptPaging hwpt, bool isFirst)
    {
        var pagetable = hwpt.Ioas.Pagetable;
        Group.SwMsiStart = Device.SoftwareMsi ?? Group.SwMsiStart;
        var rc = pagetable.ReserveRegionsOf(Device);
        if (rc == 0 && isFirst)
        {
            rc = Context.SetUpSwMsi(Group, hwpt);
            if (rc != 0)
            {
                pagetable.RemoveReserved(Device);
            }
        }

        return rc;
    }

    /// <summary>iommufd_hw_pagetable_detach: the table that was attached, whose reference the caller gives back.</summary>
    internal HwPagetable? DetachTable(uint pasid)
    {
        lock (Group.Lock)
        {
            if (Group.Attach(pasid) is not { } attach)
            {
                return null;
            }

            var hwpt = attach.Hwpt;
            attach.Devices.Remove(this);
            if (attach.Devices.Count == 0)
            {
                DetachDomain(hwpt, pasid);
                Group.RemoveAttach(pasid);
            }

            if (pasid == IommuGroup.NoPasid)
            {
                hwpt.Paging.Ioas.Pagetable.RemoveReserved(Device);
            }

            return hwpt;
        }
    }

    /// <summary>iommufd_hw_pagetable_put: the last one destroys a table that was made by attaching.</summary>
    internal void PutTable(HwPagetable hwpt)
    {
        if (hwpt is HwptPaging { AutoDomain: true })
        {
            Context.PutAndTryDestroy(hwpt);
            return;
        }

        hwpt.DropUser();
    }

    private int ChangeTable(uint pasid, ref uint ptId, DoAttach doAttach)
    {
        var obj = Context.GetObject(ptId, IommufdObjectType.Any);
        if (obj == null)
        {
            return -Errno.ENOENT;
        }

        HwPagetable? replaced = null;
        var rc = obj switch
        {
            HwPagetable hwpt => doAttach(this, pasid, hwpt, out replaced),
            IommufdIoas ioas => AutoDomain(pasid, ioas, ref ptId, doAttach, out replaced),
            _ => -Errno.EINVAL,
        };
        IommufdContext.PutObject(obj);

        // After everything is unlocked.
        if (rc == 0 && replaced != null)
        {
            PutTable(replaced);
        }

        return rc;
    }

    // iommufd_device_auto_get_domain
    private int AutoDomain(uint pasid, IommufdIoas ioas, ref uint ptId, DoAttach doAttach, out HwPagetable? replaced)
    {
        replaced = null;
        var attachesAtOnce = doAttach == DoAttachTable;
        lock (ioas.Mutex)
        {
            foreach (var candidate in ioas.Hwpts)
            {
                if (!candidate.AutoDomain || !Context.TryLockObject(candidate))
                {
                    continue;
                }

                var failed = doAttach(this, pasid, candidate, out replaced);
                if (failed == 0)
                {
                    ptId = candidate.Id;
                }

                IommufdContext.PutObject(candidate);

                // EINVAL: it does not fit this device, another one may.
                if (failed != -Errno.EINVAL)
                {
                    return failed;
                }
            }

            var rc = Context.HwptPagingAlloc(ioas, this, pasid, 0, attachesAtOnce, null, out var hwpt);
            if (rc != 0)
            {
                return rc;
            }

            if (!attachesAtOnce)
            {
                rc = doAttach(this, pasid, hwpt!, out replaced);
                if (rc != 0)
                {
                    Context.AbortAndDestroy(hwpt!);
                    return rc;
                }
            }

            hwpt!.AutoDomain = true;
            ptId = hwpt.Id;
            Context.Publish(hwpt);
            return 0;
        }
    }

    private static int DoAttachTable(IommufdDevice device, uint pasid, HwPagetable hwpt, out HwPagetable? replaced)
    {
        replaced = null;
        return device.AttachTable(hwpt, pasid);
    }

    // iommufd_device_do_replace
    private static int DoReplaceTable(IommufdDevice device, uint pasid, HwPagetable hwpt, out HwPagetable? replaced)
    {
        replaced = null;
        var group = device.Group;
        lock (group.Lock)
        {
            if (group.Attach(pasid) is not { } attach || !attach.Devices.Contains(device))
            {
                return -Errno.EINVAL;
            }

            var old = attach.Hwpt;
            if (old == hwpt)
            {
                return 0;
            }

            var moves = hwpt.Paging.Ioas != old.Paging.Ioas;
            if (pasid == IommuGroup.NoPasid && !device.IsNoIommu)
            {
                var failed = ReplaceReservedIova(attach, hwpt, moves);
                if (failed != 0)
                {
                    RemoveReserved(attach, hwpt);
                    return failed;
                }
            }

            var rc = device.AttachDomain(hwpt, pasid, replace: true);
            if (rc != 0)
            {
                // What the kernel takes back here it takes from the table in use as well when both have one address space: so does this.
                if (pasid == IommuGroup.NoPasid && !device.IsNoIommu)
                {
                    RemoveReserved(attach, hwpt);
                }

                return rc;
            }

            if (pasid == IommuGroup.NoPasid && moves)
            {
                RemoveReserved(attach, old);
            }

            attach.Hwpt = hwpt;
            hwpt.AddUsers(attach.Devices.Count);
            old.AddUsers(1 - attach.Devices.Count);
            replaced = old;
            return 0;
        }
    }

    // iommufd_group_do_replace_reserved_iova
    private static int ReplaceReservedIova(IommufdAttach attach, HwPagetable hwpt, bool moves)
    {
        foreach (var member in moves ? attach.Devices : [])
        {
            var rc = hwpt.Paging.Ioas.Pagetable.ReserveRegionsOf(member.Device);
            if (rc != 0)
            {
                return rc;
            }
        }

        return attach.Devices[0].Context.SetUpSwMsi(attach.Devices[0].Group, hwpt.Paging);
    }

    private static void RemoveReserved(IommufdAttach attach, HwPagetable hwpt)
    {
        foreach (var member in attach.Devices)
        {
            hwpt.Paging.Ioas.Pagetable.RemoveReserved(member.Device);
        }
    }

    // iommufd_hwpt_attach_device and iommufd_hwpt_replace_device
    private int AttachDomain(HwPagetable hwpt, uint pasid, bool replace)
    {
        // Page requests of a virtual function share the physical one's interface: nobody could answer for it alone.
        if (hwpt.Fault != null && Device is { IsPci: true, IsVirtualFunction: true, HasPageRequests: true })
        {
            return -Errno.EINVAL;
        }

        if (!IsPasidCompatible(hwpt, pasid))
        {
            return -Errno.EINVAL;
        }

        if (IsNoIommu)
        {
            return 0;
        }

        var group = Group.Group!;
        var old = replace ? group.GetAttachHandle(pasid) as IommufdAttachHandle : null;
        var handle = new IommufdAttachHandle(this);
        var rc = (pasid, replace) switch
        {
            (IommuGroup.NoPasid, false) => group.AttachGroupHandle(hwpt.Domain!, handle),
            (IommuGroup.NoPasid, true) => group.ReplaceGroupHandle(hwpt.Domain!, handle),
            (_, false) => group.AttachDevicePasid(Device, hwpt.Domain!, pasid, handle),
            (_, true) => group.ReplaceDevicePasid(Device, hwpt.Domain!, pasid, handle),
        };
        if (rc == 0 && old != null)
        {
            Group.Attach(pasid)!.Hwpt.Fault?.AutoRespond(old);
        }

        return rc;
    }

    private void DetachDomain(HwPagetable hwpt, uint pasid)
    {
        if (IsNoIommu)
        {
            return;
        }

        var group = Group.Group!;
        var handle = group.GetAttachHandle(pasid) as IommufdAttachHandle;
        if (pasid == IommuGroup.NoPasid)
        {
            group.DetachGroupHandle();
        }
        else
        {
            group.DetachDevicePasid(hwpt.Domain!, pasid);
        }

        if (handle != null)
        {
            hwpt.Fault?.AutoRespond(handle);
        }
    }

    // iommufd_hwpt_pasid_compat
    private bool IsPasidCompatible(HwPagetable hwpt, uint pasid)
    {
        if (pasid == IommuGroup.NoPasid)
        {
            return hwpt.PasidCompatible || !Group.HasPasids;
        }

        return hwpt.PasidCompatible && (Group.Attach(IommuGroup.NoPasid)?.Hwpt.PasidCompatible ?? true);
    }
}
