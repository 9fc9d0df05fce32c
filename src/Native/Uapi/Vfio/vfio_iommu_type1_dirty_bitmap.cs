using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Flags of vfio_iommu_type1_dirty_bitmap: exactly one.</summary>
public static partial class Vfio
{
    /// <summary>Start logging.</summary>
    public const uint VFIO_IOMMU_DIRTY_PAGES_FLAG_START = 1 << 0;

    /// <summary>Stop logging.</summary>
    public const uint VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP = 1 << 1;

    /// <summary>Read the log; a vfio_iommu_type1_dirty_bitmap_get follows.</summary>
    public const uint VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP = 1 << 2;
}

/// <summary>Argument of VFIO_IOMMU_DIRTY_PAGES. A vfio_iommu_type1_dirty_bitmap_get follows when reading.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct vfio_iommu_type1_dirty_bitmap
{
    /// <summary>Offset in bytes of data[] from this struct.</summary>
    public const int data_offset = 8;

    /// <summary>In: size in bytes of this struct and what follows.</summary>
    public uint argsz;

    /// <summary>In: VFIO_IOMMU_DIRTY_PAGES_FLAG_*.</summary>
    public uint flags;
}

/// <summary>What to read from the log of dirty pages.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct vfio_iommu_type1_dirty_bitmap_get
{
    /// <summary>In: first IOVA.</summary>
    public ulong iova;

    /// <summary>In: length in bytes.</summary>
    public ulong size;

    /// <summary>In: where to and how fine; the smallest supported page size only.</summary>
    public vfio_bitmap bitmap;
}
