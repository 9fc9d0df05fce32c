using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>Commands on hardware page tables (drivers/iommu/iommufd/hw_pagetable.c).</summary>
public sealed unsafe partial class IommufdContext
{
    private const iommufd_hwpt_alloc_flags PagingFlags = iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_NEST_PARENT |
        iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_DIRTY_TRACKING | iommufd_hwpt_alloc_flags.IOMMU_HWPT_FAULT_ID_VALID |
        iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_PASID;

    private const iommufd_hwpt_alloc_flags NestedFlags =
        iommufd_hwpt_alloc_flags.IOMMU_HWPT_FAULT_ID_VALID | iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_PASID;

    // More invalidation requests than any batch has.
    private const uint InvalidateMost = 1 << 19;

    /// <summary>
    /// Makes a table that is filled from an address space, whose mutex is held (iommufd_hwpt_paging_alloc). It is not published yet.
    /// </summary>
    internal int HwptPagingAlloc(
        IommufdIoas ioas, IommufdDevice device, uint pasid, uint flags, bool attach, IommuUserData? data, out HwptPaging? hwpt)
    {
        hwpt = null;
        var ops = OpsOf(device);
        var bits = (iommufd_hwpt_alloc_flags)flags;
        if (((flags != 0 || data != null) && !ops.HasPagingFlags) ||
            (bits & ~PagingFlags) != 0 ||
            ((bits & iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_DIRTY_TRACKING) != 0 && !device.Device.Capable(IommuCapability.DirtyTracking)) ||
            ((bits & iommufd_hwpt_alloc_flags.IOMMU_HWPT_FAULT_ID_VALID) != 0 && (bits & iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_NEST_PARENT) != 0))
        {
            return -Errno.EOPNOTSUPP;
        }

        var made = new HwptPaging(this, ioas)
        {
            PasidCompatible = (bits & iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_PASID) != 0,
            NestParent = (bits & iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_NEST_PARENT) != 0,
        };
        Reserve(made);
        ioas.AddUser();
        var rc = ops.DomainAllocPaging(device.Device, WithoutFault(flags), data, out var domain);
        if (rc == 0)
        {
            made.Adopt(domain!);

            // Before anything is mapped: some units keep it in every entry.
            rc = device.EnforcesCacheCoherency ? made.EnforceCacheCoherency() : 0;
        }

        if (rc == 0 && attach)
        {
            rc = device.AttachTable(made, pasid);
        }

        if (rc == 0)
        {
            rc = ioas.Pagetable.AddDomain(domain!);
            if (rc != 0 && attach && device.DetachTable(pasid) is { } attached)
            {
                attached.DropUser();
            }
        }

        if (rc != 0)
        {
            AbortAndDestroy(made);
            return rc;
        }

        ioas.Hwpts.Add(made);
        made.IsListed = true;
        hwpt = made;
        return 0;
    }

    private IommuOps OpsOf(IommufdDevice device) => device.Device.Ops ?? _noIommuOps;

    internal const uint NestedFlagBits = (uint)NestedFlags;

    internal static uint WithoutFault(uint flags) => flags & ~(uint)iommufd_hwpt_alloc_flags.IOMMU_HWPT_FAULT_ID_VALID;

    private int HwptAlloc(ref Ucmd ucmd)
    {
        ref var cmd = ref ucmd.Command<iommu_hwpt_alloc>();
        if (cmd.__reserved != 0)
        {
            return -Errno.EOPNOTSUPP;
        }

        if ((cmd.data_type == 0) != (cmd.data_len == 0))
        {
            return -Errno.EINVAL;
        }

        if (GetDevice(cmd.dev_id) is not { } device)
        {
            return -Errno.ENOENT;
        }

        var rc = -Errno.EINVAL;
        if (GetObject(cmd.pt_id, IommufdObjectType.Any) is { } table)
        {
            var data = new IommuUserData(cmd.data_type, cmd.data_uptr, cmd.data_len, ucmd.User);
            switch (table)
            {
                case IommufdIoas ioas:
                    lock (ioas.Mutex)
                    {
                        rc = HwptPagingAlloc(ioas, device, IommuGroup.NoPasid, cmd.flags, false, cmd.data_len != 0 ? data : null, out var paging);
                        rc = rc == 0 ? HwptFinish(ref ucmd, ref cmd, paging!) : rc;
                    }

                    break;
                case HwptPaging parent:
                    rc = HwptNestedAlloc(parent, device, cmd.flags, data, out var nested);
                    rc = rc == 0 ? HwptFinish(ref ucmd, ref cmd, nested!) : rc;
                    break;
                case IommufdViommu viommu:
                    nested = null;
                    rc = device.Device.Unit == null || viommu.Unit != device.Device.Unit
                        ? -Errno.EINVAL
                        : viommu.AllocNested(cmd.flags, data, out nested);
                    rc = rc == 0 ? HwptFinish(ref ucmd, ref cmd, nested!) : rc;
                    break;
            }

            PutObject(table);
        }

        PutObject(device.Object);
        return rc;
    }

    // Connects the fault queue and answers.
    private int HwptFinish(ref Ucmd ucmd, ref iommu_hwpt_alloc cmd, HwPagetable hwpt)
    {
        var rc = 0;
        if (((iommufd_hwpt_alloc_flags)cmd.flags & iommufd_hwpt_alloc_flags.IOMMU_HWPT_FAULT_ID_VALID) != 0)
        {
            if (GetObject<IommufdFault>(cmd.fault_id, IommufdObjectType.Fault) is { } fault)
            {
                hwpt.Fault = fault;
                hwpt.Domain!.IopfHandler = fault.Deliver;
                fault.AddUser();
                PutObject(fault);
            }
            else
            {
                rc = -Errno.ENOENT;
            }
        }

        if (rc == 0)
        {
            cmd.out_hwpt_id = hwpt.Id;
            rc = ucmd.Respond<iommu_hwpt_alloc>();
        }

        if (rc == 0)
        {
            Publish(hwpt);
        }
        else
        {
            AbortAndDestroy(hwpt);
        }

        return rc;
    }

    private int HwptNestedAlloc(HwptPaging parent, IommufdDevice device, uint flags, in IommuUserData data, out HwptNested? hwpt)
    {
        hwpt = null;
        var ops = OpsOf(device);
        if (((iommufd_hwpt_alloc_flags)flags & ~NestedFlags) != 0 || data.Length == 0 || !ops.HasNested)
        {
            return -Errno.EOPNOTSUPP;
        }

        if (parent.AutoDomain || !parent.NestParent || parent.Domain!.Owner != ops)
        {
            return -Errno.EINVAL;
        }

        parent.AddUser();
        var rc = ops.DomainAllocNested(device.Device, parent.Domain, WithoutFault(flags), data, out var domain);
        return AdoptNested(new HwptNested(this, parent, parent) { PasidCompatible = IsPasid(flags) }, rc, domain, out hwpt);
    }

    internal int AdoptNested(HwptNested made, int rc, IommuDomain? domain, out HwptNested? hwpt)
    {
        hwpt = null;
        Reserve(made);
        if (rc == 0 && domain!.Type != IommuDomainType.Nested)
        {
            rc = -Errno.EOPNOTSUPP;
        }

        if (rc != 0)
        {
            AbortAndDestroy(made);
            return rc;
        }

        made.Adopt(domain!);
        hwpt = made;
        return 0;
    }

    internal static bool IsPasid(uint flags) => ((iommufd_hwpt_alloc_flags)flags & iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_PASID) != 0;

    private int HwptSetDirtyTracking(ref Ucmd ucmd)
    {
        ref var cmd = ref ucmd.Command<iommu_hwpt_set_dirty_tracking>();
        const uint Enable = (uint)iommufd_hwpt_set_dirty_tracking_flags.IOMMU_HWPT_DIRTY_TRACKING_ENABLE;
        if ((cmd.flags & ~Enable) != 0)
        {
            return -Errno.EOPNOTSUPP;
        }

        if (GetObject<HwptPaging>(cmd.hwpt_id, IommufdObjectType.HwptPaging) is not { } hwpt)
        {
            return -Errno.ENOENT;
        }

        var rc = hwpt.Ioas.Pagetable.SetDirtyTracking(hwpt.Domain!, (cmd.flags & Enable) != 0);
        PutObject(hwpt);
        return rc;
    }

    private int HwptGetDirtyBitmap(ref Ucmd ucmd)
    {
        ref var cmd = ref ucmd.Command<iommu_hwpt_get_dirty_bitmap>();
        const uint NoClear = (uint)iommufd_hwpt_get_dirty_bitmap_flags.IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR;
        if ((cmd.flags & ~NoClear) != 0 || cmd.__reserved != 0)
        {
            return -Errno.EOPNOTSUPP;
        }

        if (GetObject<HwptPaging>(cmd.hwpt_id, IommufdObjectType.HwptPaging) is not { } hwpt)
        {
            return -Errno.ENOENT;
        }

        var rc = hwpt.Ioas.Pagetable.ReadAndClearDirty(hwpt.Domain!, ref cmd, (cmd.flags & NoClear) != 0, ucmd.User);
        PutObject(hwpt);
        return rc;
    }

    private int HwptInvalidate(ref Ucmd ucmd)
    {
        ref var cmd = ref ucmd.Command<iommu_hwpt_invalidate>();
        uint done = 0;
        int rc;
        if (cmd.__reserved != 0)
        {
            rc = -Errno.EOPNOTSUPP;
        }
        else if (cmd.entry_num != 0 &&
            (cmd.data_uptr == 0 || cmd.entry_len == 0 || cmd.entry_len > IoptPages.PageSize || cmd.entry_num > InvalidateMost))
        {
            rc = -Errno.EINVAL;
        }
        else if (GetObject(cmd.hwpt_id, IommufdObjectType.Any) is not { } table)
        {
            rc = -Errno.ENOENT;
        }
        else
        {
            var array = new IommuUserDataArray(cmd.data_type, cmd.data_uptr, cmd.entry_len, cmd.entry_num, ucmd.User);
            var known = table is HwptNested or IommufdViommu;
            rc = table switch
            {
                HwptNested { Domain.CanInvalidateUser: true } hwpt => hwpt.Domain.CacheInvalidateUser(ref array),
                IommufdViommu { CanInvalidate: true } viommu => viommu.CacheInvalidate(ref array),
                _ => known ? -Errno.EOPNOTSUPP : -Errno.EINVAL,
            };
            if (table is HwptNested { Domain.CanInvalidateUser: true } or IommufdViommu { CanInvalidate: true })
            {
                done = array.EntryCount;
            }

            PutObject(table);
        }

        cmd.entry_num = done;
        return ucmd.Respond<iommu_hwpt_invalidate>() != 0 ? -Errno.EFAULT : rc;
    }
}
