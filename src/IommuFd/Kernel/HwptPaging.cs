using System.Numerics;
using IommuFd.Native.Uapi;
using static IommuFd.Native.Uapi.Iommufd;

namespace IommuFd;

/// <summary>A page table that the kernel manages: an <see cref="Ioas"/> in the format of one IOMMU (IOMMUFD_OBJ_HWPT_PAGING).</summary>
public sealed unsafe class HwptPaging : HardwareTable
{
    internal HwptPaging(Ioas ioas, uint id, FaultQueue? faults)
        : base(ioas.Context, ioas, id, faults) => Ioas = ioas;

    /// <summary>The address space it shows.</summary>
    public Ioas Ioas { get; }

    /// <summary>IOMMU_HWPT_SET_DIRTY_TRACKING: starts or stops noting which pages devices write.</summary>
    /// <exception cref="IommuFdException">The table was not made with IOMMU_HWPT_ALLOC_DIRTY_TRACKING.</exception>
    public void SetDirtyTracking(bool enabled)
    {
        iommu_hwpt_set_dirty_tracking command = new()
        {
            size = (uint)sizeof(iommu_hwpt_set_dirty_tracking), hwpt_id = Id,
            flags = enabled ? (uint)iommufd_hwpt_set_dirty_tracking_flags.IOMMU_HWPT_DIRTY_TRACKING_ENABLE : 0,
        };
        Enter();
        int result = Context.Call(IOMMU_HWPT_SET_DIRTY_TRACKING, ref command);
        Exit();
        _ = Failure.Check(result, nameof(IOMMU_HWPT_SET_DIRTY_TRACKING));
    }

    /// <summary>
    /// IOMMU_HWPT_GET_DIRTY_BITMAP: sets the bits of pages that were written since the last call, and forgets them. Allocates nothing.
    /// </summary>
    /// <param name="iova">Start of the range.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="pageSize">Bytes that one bit stands for, a power of two.</param>
    /// <param name="bitmap">Bit i of word w is page 64 w + i; the caller clears it first.</param>
    /// <param name="clear">False: report without forgetting.</param>
    /// <exception cref="ArgumentException">The bitmap is too short or the page size no power of two.</exception>
    /// <exception cref="IommuFdException">EINVAL nothing is mapped there or tracking is off.</exception>
    public void GetDirtyBitmap(ulong iova, ulong length, ulong pageSize, Span<ulong> bitmap, bool clear = true)
    {
        if (!BitOperations.IsPow2(pageSize) || length == 0 || (ulong)bitmap.Length < ((length - 1) / pageSize / 64) + 1)
        {
            throw new ArgumentException($"0x{length:x} bytes in pages of 0x{pageSize:x} need a power of two and"
                + $" {(length / Math.Max(pageSize, 1) / 64) + 1} words.", nameof(bitmap));
        }

        int result;
        fixed (ulong* pointer = bitmap)
        {
            // SAFETY: the bitmap is pinned for the call and has a bit for every page of the range.
            iommu_hwpt_get_dirty_bitmap command = new()
            {
                size = (uint)sizeof(iommu_hwpt_get_dirty_bitmap), hwpt_id = Id, iova = iova, length = length,
                page_size = pageSize, data = (ulong)pointer,
                flags = clear ? 0 : (uint)iommufd_hwpt_get_dirty_bitmap_flags.IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR,
            };
            Enter();
            result = Context.Call(IOMMU_HWPT_GET_DIRTY_BITMAP, ref command);
            Exit();
        }

        if (result < 0)
        {
            throw Failure.Of(nameof(IOMMU_HWPT_GET_DIRTY_BITMAP), result, Evidence.Hex("iova", iova), Evidence.Hex("length", length));
        }
    }
}
