using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Flags of vfio_iommu_type1_dma_unmap.</summary>
public static partial class Vfio
{
    /// <summary>Report dirty pages first; a vfio_bitmap follows.</summary>
    public const uint VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP = 1 << 0;

    /// <summary>Unmap everything; iova and size are 0.</summary>
    public const uint VFIO_DMA_UNMAP_FLAG_ALL = 1 << 1;

    /// <summary>Keep the mappings, but forget their process addresses.</summary>
    public const uint VFIO_DMA_UNMAP_FLAG_VADDR = 1 << 2;
}

/// <summary>A bitmap of pages.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct vfio_bitmap
{
    /// <summary>In: bytes per bit.</summary>
    public ulong pgsize;

    /// <summary>In: size of the bitmap in bytes.</summary>
    public ulong size;

    /// <summary>In: address of the zeroed bitmap.</summary>
    public ulong data;
}

/// <summary>Argument of VFIO_IOMMU_UNMAP_DMA. A vfio_bitmap follows with VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct vfio_iommu_type1_dma_unmap
{
    /// <summary>Offset in bytes of data[] from this struct.</summary>
    public const int data_offset = 24;

    /// <summary>In: size in bytes of this struct and what follows.</summary>
    public uint argsz;

    /// <summary>In: VFIO_DMA_UNMAP_FLAG_*.</summary>
    public uint flags;

    /// <summary>In: first IOVA.</summary>
    public ulong iova;

    /// <summary>In: length in bytes. Out: bytes that were unmapped.</summary>
    public ulong size;
}
