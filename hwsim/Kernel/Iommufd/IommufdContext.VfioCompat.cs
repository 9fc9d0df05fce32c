using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// An iommufd as a VFIO container (drivers/iommu/iommufd/vfio_compat.c): the container's ioctls work on one address space, which IOMMU_VFIO_IOAS
/// chooses.
/// </summary>
public sealed unsafe partial class IommufdContext
{
    private bool _noIommuMode;

    /// <summary>
    /// The compatibility address space, made when there is none (iommufd_vfio_compat_ioas_create): a group is being connected. -EINVAL after a group
    /// without an IOMMU.
    /// </summary>
    public int VfioCompatIoasCreate()
    {
        var ioas = new IommufdIoas(this);
        lock (_objectsLock)
        {
            if (_noIommuMode)
            {
                return -Errno.EINVAL;
            }

            if (_vfioIoas != null)
            {
                return 0;
            }

            ioas.Id = _objects.Reserve();
            _objects.Publish(ioas);
            _vfioIoas = ioas;
            return 0;
        }
    }

    /// <summary>The id of the compatibility address space, or -ENODEV (iommufd_vfio_compat_ioas_get_id).</summary>
    public int VfioCompatIoasGetId(out uint id)
    {
        lock (_objectsLock)
        {
            id = _vfioIoas?.Id ?? 0;
            return _vfioIoas == null ? -Errno.ENODEV : 0;
        }
    }

    /// <summary>A group without an IOMMU is connected: the container serves no other kind from now on. -EINVAL when it does already.</summary>
    public int VfioCompatSetNoIommu()
    {
        lock (_objectsLock)
        {
            _noIommuMode |= _vfioIoas == null;
            return _vfioIoas == null ? 0 : -Errno.EINVAL;
        }
    }

    private IommufdIoas? GetCompatIoas()
    {
        lock (_objectsLock)
        {
            return _vfioIoas is { } ioas && TryLock(ioas) ? ioas : null;
        }
    }

    private int VfioIoas(ref Ucmd ucmd)
    {
        ref var cmd = ref ucmd.Command<iommu_vfio_ioas>();
        if (cmd.__reserved != 0)
        {
            return -Errno.EOPNOTSUPP;
        }

        switch ((iommufd_vfio_ioas_op)cmd.op)
        {
            case iommufd_vfio_ioas_op.IOMMU_VFIO_IOAS_GET:
                var rc = VfioCompatIoasGetId(out var id);
                if (rc != 0)
                {
                    return rc;
                }

                cmd.ioas_id = id;
                return ucmd.Respond<iommu_vfio_ioas>();
            case iommufd_vfio_ioas_op.IOMMU_VFIO_IOAS_SET:
                if (GetIoas(cmd.ioas_id) is not { } ioas)
                {
                    return -Errno.ENOENT;
                }

                lock (_objectsLock)
                {
                    _vfioIoas = ioas;
                }

                PutObject(ioas);
                return 0;
            case iommufd_vfio_ioas_op.IOMMU_VFIO_IOAS_CLEAR:
                lock (_objectsLock)
                {
                    _vfioIoas = null;
                }

                return 0;
            default:
                return -Errno.EOPNOTSUPP;
        }
    }

    private int VfioIoctl(uint request, ulong argument, IUserMemory user) => request switch
    {
        Vfio.VFIO_GET_API_VERSION => 0,
        Vfio.VFIO_SET_IOMMU => VfioSetIommu(argument, user.Process),
        Vfio.VFIO_CHECK_EXTENSION => VfioCheckExtension(argument),
        Vfio.VFIO_IOMMU_GET_INFO => VfioGetInfo(argument, user),
        Vfio.VFIO_IOMMU_MAP_DMA => VfioMapDma(argument, user),
        Vfio.VFIO_IOMMU_UNMAP_DMA => VfioUnmapDma(argument, user),
        _ => -Errno.ENOTTY,
    };

    private int VfioMapDma(ulong argument, IUserMemory user)
    {
        vfio_iommu_type1_dma_map map;
        if (user.CopyFrom(argument, &map, (nuint)sizeof(vfio_iommu_type1_dma_map)) != 0)
        {
            return -Errno.EFAULT;
        }

        if (map.argsz < sizeof(vfio_iommu_type1_dma_map) || (map.flags & ~3u) != 0)
        {
            return -Errno.EINVAL;
        }

        var prot = IommuProt.Cache;
        prot |= (map.flags & 1) != 0 ? IommuProt.Read : 0;
        prot |= (map.flags & 2) != 0 ? IommuProt.Write : 0;
        if (GetCompatIoas() is not { } ioas)
        {
            return -Errno.ENODEV;
        }

        var iova = map.iova;
        var rc = MapUserPages(ioas.Pagetable, user, map.vaddr, map.size, ref iova, prot, automatic: false);
        PutObject(ioas);
        return rc;
    }

    private int VfioUnmapDma(ulong argument, IUserMemory user)
    {
        // Without the bitmap that may follow.
        const int Minimum = 24;
        const uint All = 2;
        vfio_iommu_type1_dma_unmap unmap;
        if (user.CopyFrom(argument, &unmap, Minimum) != 0)
        {
            return -Errno.EFAULT;
        }

        if (unmap.argsz < Minimum || (unmap.flags & ~All) != 0)
        {
            return -Errno.EINVAL;
        }

        if (GetCompatIoas() is not { } ioas)
        {
            return -Errno.ENODEV;
        }

        var rc = VfioUnmap(ioas.Pagetable, ref unmap, (unmap.flags & All) != 0, out var answers);
        if (answers && user.CopyTo(argument, &unmap, Minimum) != 0)
        {
            rc = -Errno.EFAULT;
        }

        PutObject(ioas);
        return rc;
    }

    private static int VfioUnmap(IoPagetable pagetable, ref vfio_iommu_type1_dma_unmap unmap, bool all, out bool answers)
    {
        answers = false;
        int rc;
        ulong unmapped;
        if (all)
        {
            if (unmap.iova != 0 || unmap.size != 0)
            {
                return -Errno.EINVAL;
            }

            rc = pagetable.UnmapAll(out unmapped);
        }
        else
        {
            // Type 1 version 1: areas are cut where the range begins and ends.
            if (pagetable.LargePagesDisabled)
            {
                ReadOnlySpan<ulong> cuts = [unmap.iova + unmap.size - 1, unmap.iova - 1];
                rc = pagetable.Cut(unmap.iova != 0 ? cuts : cuts[..1]);
                if (rc != 0)
                {
                    return rc;
                }
            }

            rc = pagetable.Unmap(unmap.iova, unmap.size, out unmapped);
        }

        unmap.size = unmapped;
        answers = true;
        return rc;
    }

    private int VfioCheckExtension(ulong type)
    {
        switch (type)
        {
            case Vfio.VFIO_TYPE1_IOMMU:
            case Vfio.VFIO_TYPE1v2_IOMMU:
            case Vfio.VFIO_UNMAP_ALL:
                return _noIommuMode ? 0 : 1;
            case Vfio.VFIO_NOIOMMU_IOMMU:
                return Module.HasNoIommu ? 1 : 0;
            case Vfio.VFIO_DMA_CC_IOMMU:
                if (GetCompatIoas() is not { } ioas)
                {
                    return -Errno.ENODEV;
                }

                lock (ioas.Mutex)
                {
                    var coherent = ioas.Hwpts.TrueForAll(h => h.EnforcesCacheCoherency);
                    PutObject(ioas);
                    return coherent ? 1 : 0;
                }

            default:
                return 0;
        }
    }

    private int VfioSetIommu(ulong type, SimulatedProcess process)
    {
        if (Module.HasNoIommu && type == Vfio.VFIO_NOIOMMU_IOMMU && _noIommuMode)
        {
            return process.Capable(Capabilities.SysRawIO) ? 0 : -Errno.EPERM;
        }

        if (type is not (Vfio.VFIO_TYPE1_IOMMU or Vfio.VFIO_TYPE1v2_IOMMU) || _noIommuMode)
        {
            return -Errno.EINVAL;
        }

        if (GetCompatIoas() is not { } ioas)
        {
            return -Errno.ENODEV;
        }

        // Version 1 may unmap the middle of an area, which large pages would not survive.
        var rc = type == Vfio.VFIO_TYPE1_IOMMU ? ioas.Pagetable.DisableLargePages() : 0;
        PutObject(ioas);
        return rc;
    }
}
