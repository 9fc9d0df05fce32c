using System.Numerics;
using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>IOMMU_IOASID_DIRTY: which pages of a space devices wrote, through it and through its children.</summary>
internal sealed partial class RfcContext
{
    private int Dirty(ulong argument, IUserMemory user)
    {
        const uint start = Rfc.IOMMU_IOASID_DIRTY_START, stop = Rfc.IOMMU_IOASID_DIRTY_STOP, get = Rfc.IOMMU_IOASID_DIRTY_GET_BITMAP,
            noClear = Rfc.IOMMU_IOASID_DIRTY_NO_CLEAR;
        int error = CopyArgument(argument, user, out iommu_ioasid_dirty dirty);
        if (error < 0)
        {
            return error;
        }

        uint command = dirty.flags & (start | stop | get);
        if (BitOperations.PopCount(command) != 1 || (dirty.flags & ~(command == get ? get | noClear : command)) != 0 || dirty.__reserved != 0
            || FindIoasid(dirty.ioasid) is not RfcKernelIoasid ioasid)
        {
            return -Errno.EINVAL;
        }

        if (command != get)
        {
            return ioasid.SetTracking(command == start);
        }

        if (!ioasid.IsTracking || !IsGood(dirty.bitmap, dirty.iova, dirty.size))
        {
            return -Errno.EINVAL;
        }

        ioasid.ReadDirty(
            dirty.iova, dirty.iova + dirty.size - 1, (dirty.flags & noClear) != 0,
            new DirtyBitmap(user, dirty.bitmap.data, dirty.iova, dirty.size, dirty.bitmap.pgsize));
        return 0;
    }

    // Whole pages of a size that is at least the machine's, and room for a bit each.
    private static bool IsGood(in vfio_bitmap bitmap, ulong iova, ulong size)
    {
        ulong page = bitmap.pgsize, last = unchecked(iova + size - 1);
        return ulong.IsPow2(page) && page >= IoptPages.PageSize && size != 0 && last >= iova && ((iova | size) & (page - 1)) == 0
            && bitmap.size >= (((size / page) + 63) & ~63UL) / 8;
    }
}
