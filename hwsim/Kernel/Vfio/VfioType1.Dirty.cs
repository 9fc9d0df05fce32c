using System.Numerics;
using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>Dirty pages of a container: the IOMMU does not tell, so that every mapped page counts as written.</summary>
internal sealed unsafe partial class VfioType1
{
    private int DirtyPages(ulong argument, IUserMemory user)
    {
        if (!_isVersion2)
        {
            return -Errno.EACCES;
        }

        vfio_iommu_type1_dirty_bitmap dirty;
        uint size = (uint)sizeof(vfio_iommu_type1_dirty_bitmap);
        if (user.CopyFrom(argument, &dirty, size) < 0)
        {
            return -Errno.EFAULT;
        }

        if (dirty.argsz < size || BitOperations.PopCount(dirty.flags) != 1)
        {
            return -Errno.EINVAL;
        }

        switch (dirty.flags)
        {
            case Vfio.VFIO_IOMMU_DIRTY_PAGES_FLAG_START:
            case Vfio.VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP:
                lock (_lock)
                {
                    _isTrackingDirty = dirty.flags == Vfio.VFIO_IOMMU_DIRTY_PAGES_FLAG_START;
                    return 0;
                }

            case Vfio.VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP:
                return GetBitmap(argument + size, dirty.argsz - size, user);
            default:
                return -Errno.EINVAL;
        }
    }

    private int GetBitmap(ulong argument, uint length, IUserMemory user)
    {
        vfio_iommu_type1_dirty_bitmap_get range;
        if (length < sizeof(vfio_iommu_type1_dirty_bitmap_get))
        {
            return -Errno.EINVAL;
        }

        if (user.CopyFrom(argument, &range, (nuint)sizeof(vfio_iommu_type1_dirty_bitmap_get)) < 0)
        {
            return -Errno.EFAULT;
        }

        if (range.size == 0)
        {
            return -Errno.EINVAL;
        }

        ulong last = range.iova + range.size - 1;
        if (last < range.iova)
        {
            return -Errno.EOVERFLOW;
        }

        int error = CheckBitmap(range.bitmap, range.size);
        if (error < 0)
        {
            return error;
        }

        lock (_lock)
        {
            ulong page = SmallestPage;
            if (range.bitmap.pgsize != page || ((range.iova | range.size) & (page - 1)) != 0 || !_isTrackingDirty
                || (Find(range.iova, range.iova) is { } first && first.Iova != range.iova) || (Find(last, last) is { } end && end.Last != last))
            {
                return -Errno.EINVAL;
            }

            foreach (Mapping mapping in Between(range.iova, last))
            {
                error = Report(mapping, range.iova, range.bitmap.data, page, user);
                if (error < 0)
                {
                    return error;
                }
            }

            return 0;
        }
    }

    private static int CopyBitmap(ulong argument, uint length, ulong size, vfio_bitmap* bitmap, IUserMemory user)
    {
        if (length < sizeof(vfio_bitmap))
        {
            return -Errno.EINVAL;
        }

        return user.CopyFrom(argument, bitmap, (nuint)sizeof(vfio_bitmap)) < 0 ? -Errno.EFAULT : CheckBitmap(*bitmap, size);
    }

    // verify_bitmap_size: room for one bit a page, in whole 64-bit words.
    private static int CheckBitmap(in vfio_bitmap bitmap, ulong size)
    {
        ulong pages = size >> (bitmap.pgsize == 0 ? 0 : BitOperations.TrailingZeroCount(bitmap.pgsize));
        return pages == 0 || bitmap.size == 0 || bitmap.size > DirtyBitmapMaximum || bitmap.size < ((pages + 63) & ~63UL) / 8 ? -Errno.EINVAL : 0;
    }

    // Sets the bits of a mapping in the user's bitmap, which begins at an IOVA; bits below it in its first word stay. Above, whole words are written.
    private static int Report(Mapping mapping, ulong start, ulong bitmap, ulong page, IUserMemory user)
    {
        ulong first = (mapping.Iova - start) / page, count = mapping.Size / page;
        bool isDirty = mapping.Pages is not null;
        for (ulong word = first / 64; word <= (first + count - 1) / 64; word++)
        {
            ulong value = 0, address = bitmap + (word * 8);
            if (word == first / 64 && first % 64 != 0)
            {
                if (user.CopyFrom(address, &value, sizeof(ulong)) < 0)
                {
                    return -Errno.EFAULT;
                }

                value &= (1UL << (int)(first % 64)) - 1;
            }

            ulong from = Math.Max(first, word * 64), to = Math.Min(first + count, (word + 1) * 64);
            ulong bits = to - from == 64 ? ulong.MaxValue : ((1UL << (int)(to - from)) - 1) << (int)(from % 64);
            value |= isDirty ? bits : 0;
            if (user.CopyTo(address, &value, sizeof(ulong)) < 0)
            {
                return -Errno.EFAULT;
            }
        }

        return 0;
    }
}
