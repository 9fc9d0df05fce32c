using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Flags of vfio_iommu_type1_dma_map.</summary>
public static partial class Vfio
{
    /// <summary>Devices may read.</summary>
    public const uint VFIO_DMA_MAP_FLAG_READ = 1 << 0;

    /// <summary>Devices may write.</summary>
    public const uint VFIO_DMA_MAP_FLAG_WRITE = 1 << 1;

    /// <summary>Only give an existing mapping its new process address; no READ or WRITE.</summary>
    public const uint VFIO_DMA_MAP_FLAG_VADDR = 1 << 2;
}

/// <summary>Argument of VFIO_IOMMU_MAP_DMA: pins process memory and gives it an IOVA.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct vfio_iommu_type1_dma_map
{
    /// <summary>In: size of this struct in bytes.</summary>
    public uint argsz;

    /// <summary>In: VFIO_DMA_MAP_FLAG_*.</summary>
    public uint flags;

    /// <summary>In: process address.</summary>
    public ulong vaddr;

    /// <summary>In: first IOVA.</summary>
    public ulong iova;

    /// <summary>In: length in bytes.</summary>
    public ulong size;
}
