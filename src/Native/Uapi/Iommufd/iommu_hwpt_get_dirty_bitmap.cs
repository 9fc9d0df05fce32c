using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Flags of IOMMU_HWPT_GET_DIRTY_BITMAP.</summary>
[Flags]
public enum iommufd_hwpt_get_dirty_bitmap_flags : uint
{
    /// <summary>Leave the dirty bits in the table, as when the range is unmapped next.</summary>
    IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR = 1,
}

/// <summary>Argument of IOMMU_HWPT_GET_DIRTY_BITMAP: collects, and by default clears, the dirty state of an IOVA range.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_hwpt_get_dirty_bitmap
{
    /// <summary>In: size of this struct in bytes.</summary>
    public uint size;

    /// <summary>In: page table.</summary>
    public uint hwpt_id;

    /// <summary>In: iommufd_hwpt_get_dirty_bitmap_flags.</summary>
    public uint flags;

    /// <summary>Must be 0.</summary>
    public uint __reserved;

    /// <summary>In: IOVA of the bitmap's first bit.</summary>
    public ulong iova;

    /// <summary>In: length in bytes of the range.</summary>
    public ulong length;

    /// <summary>In: bytes per bit, a power of two.</summary>
    public ulong page_size;

    /// <summary>In: address of the bitmap, an array of 64-bit words. Bits are set, never cleared.</summary>
    public ulong data;
}
