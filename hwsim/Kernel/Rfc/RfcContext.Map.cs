using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>IOMMU_MAP_DMA and IOMMU_UNMAP_DMA, with the rules of VFIO type1v2. No device need be attached.</summary>
internal sealed unsafe partial class RfcContext
{
    private int MapDma(ulong argument, IUserMemory user)
    {
        int error = CopyOperation(argument, user, out vfio_iommu_type1_dma_map map, out RfcKernelIoasid? ioasid);
        if (error < 0)
        {
            return error;
        }

        const uint known = Vfio.VFIO_DMA_MAP_FLAG_READ | Vfio.VFIO_DMA_MAP_FLAG_WRITE;
        if (map.argsz < sizeof(vfio_iommu_type1_dma_map) || (map.flags & ~known) != 0 || map.flags == 0 || map.size == 0)
        {
            return -Errno.EINVAL;
        }

        if (map.iova + map.size - 1 < map.iova || map.vaddr + map.size - 1 < map.vaddr)
        {
            return -Errno.EOVERFLOW;
        }

        if ((map.iova | map.vaddr | map.size) % IoptPages.PageSize != 0)
        {
            return -Errno.EINVAL;
        }

        IommuProt prot = ((map.flags & Vfio.VFIO_DMA_MAP_FLAG_READ) != 0 ? IommuProt.Read : 0)
            | ((map.flags & Vfio.VFIO_DMA_MAP_FLAG_WRITE) != 0 ? IommuProt.Write : 0);
        return ioasid!.Map(map.iova, map.vaddr, map.size, prot, user);
    }

    private int UnmapDma(ulong argument, IUserMemory user)
    {
        int error = CopyOperation(argument, user, out vfio_iommu_type1_dma_unmap unmap, out RfcKernelIoasid? ioasid);
        if (error < 0)
        {
            return error;
        }

        bool all = unmap.flags == Vfio.VFIO_DMA_UNMAP_FLAG_ALL;
        bool wantsBitmap = unmap.flags == Vfio.VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP;
        if (unmap.argsz < sizeof(vfio_iommu_type1_dma_unmap) || (unmap.flags != 0 && !all && !wantsBitmap)
            || (all ? (unmap.iova | unmap.size) != 0 : unmap.size == 0)
            || (unmap.iova | unmap.size) % IoptPages.PageSize != 0)
        {
            return -Errno.EINVAL;
        }

        ulong last = all ? ulong.MaxValue : unmap.iova + unmap.size - 1;
        if (last < unmap.iova)
        {
            return -Errno.EOVERFLOW;
        }

        DirtyBitmap? dirty = null;
        if (wantsBitmap)
        {
            error = CopyBitmap(argument, unmap, ioasid!, user, out dirty);
            if (error < 0)
            {
                return error;
            }
        }

        error = ioasid!.Unmap(unmap.iova, last, dirty, out ulong unmapped);
        if (error < 0)
        {
            return error;
        }

        unmap.size = unmapped;
        return user.CopyTo(argument + iommu_ioasid_dma_op.data_offset, &unmap, (nuint)sizeof(vfio_iommu_type1_dma_unmap)) < 0 ? -Errno.EFAULT : 0;
    }

    // The vfio_bitmap that follows the struct of VFIO, with the rules of IOMMU_IOASID_DIRTY.
    private static int CopyBitmap(
        ulong argument, in vfio_iommu_type1_dma_unmap unmap, RfcKernelIoasid ioasid, IUserMemory user, out DirtyBitmap? dirty)
    {
        dirty = null;
        uint argsz;
        vfio_bitmap bitmap;
        ulong size = (ulong)sizeof(vfio_iommu_type1_dma_unmap), whole = size + (ulong)sizeof(vfio_bitmap);
        if (user.CopyFrom(argument, &argsz, sizeof(uint)) < 0)
        {
            return -Errno.EFAULT;
        }

        if (unmap.argsz < whole || argsz < iommu_ioasid_dma_op.data_offset + whole)
        {
            return -Errno.EINVAL;
        }

        if (user.CopyFrom(argument + iommu_ioasid_dma_op.data_offset + size, &bitmap, (nuint)sizeof(vfio_bitmap)) < 0)
        {
            return -Errno.EFAULT;
        }

        if (!ioasid.IsTracking || !IsGood(bitmap, unmap.iova, unmap.size))
        {
            return -Errno.EINVAL;
        }

        dirty = new DirtyBitmap(user, bitmap.data, unmap.iova, unmap.size, bitmap.pgsize);
        return 0;
    }

    // The head, and the struct of VFIO that follows it. Only spaces whose table the kernel builds take mappings.
    private int CopyOperation<T>(ulong argument, IUserMemory user, out T data, out RfcKernelIoasid? ioasid)
        where T : unmanaged
    {
        ioasid = null;
        data = default;
        iommu_ioasid_dma_op op;
        if (user.CopyFrom(argument, &op, (nuint)sizeof(iommu_ioasid_dma_op)) < 0)
        {
            return -Errno.EFAULT;
        }

        if (op.argsz < (uint)(sizeof(iommu_ioasid_dma_op) + sizeof(T)) || op.flags != 0 || op.padding != 0)
        {
            return -Errno.EINVAL;
        }

        // SAFETY: data is ours and T has no references.
        fixed (T* p = &data)
        {
            if (user.CopyFrom(argument + iommu_ioasid_dma_op.data_offset, p, (nuint)sizeof(T)) < 0)
            {
                return -Errno.EFAULT;
            }
        }

        ioasid = FindIoasid(op.ioasid) as RfcKernelIoasid;
        return ioasid is null ? -Errno.EINVAL : 0;
    }
}
