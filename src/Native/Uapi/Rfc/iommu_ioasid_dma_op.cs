using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>
/// Argument of IOMMU_MAP_DMA and IOMMU_UNMAP_DMA (September 2021). A whole vfio_iommu_type1_dma_map or vfio_iommu_type1_dma_unmap follows.
/// </summary>
/// <remarks>In a child with software nesting, vaddr is an address of the parent.</remarks>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_ioasid_dma_op
{
    /// <summary>Offset in bytes of data[] from this struct.</summary>
    public const int data_offset = 16;

    /// <summary>In: size in bytes of this struct and the data.</summary>
    public uint argsz;

    /// <summary>In: must be 0.</summary>
    public uint flags;

    /// <summary>In: address space.</summary>
    public int ioasid;

    /// <summary>Must be 0.</summary>
    public uint padding;
}

/// <summary>iommu_ioasid_dma_op with its data for IOMMU_MAP_DMA. Name ours.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_ioasid_dma_map
{
    /// <summary>In: the head.</summary>
    public iommu_ioasid_dma_op op;

    /// <summary>In: the mapping.</summary>
    public vfio_iommu_type1_dma_map map;
}

/// <summary>iommu_ioasid_dma_op with its data for IOMMU_UNMAP_DMA. Name ours.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_ioasid_dma_unmap
{
    /// <summary>In: the head.</summary>
    public iommu_ioasid_dma_op op;

    /// <summary>In and out: the range.</summary>
    public vfio_iommu_type1_dma_unmap unmap;
}
