namespace IommuFd.Native.Uapi;

/// <summary>Extensions: arguments of VFIO_CHECK_EXTENSION; those named IOMMU are also types for VFIO_SET_IOMMU.</summary>
public static partial class Vfio
{
    /// <summary>Type 1 IOMMU: map and unmap of process memory, unmap may cut mappings.</summary>
    public const uint VFIO_TYPE1_IOMMU = 1;

    /// <summary>IBM sPAPR TCE IOMMU.</summary>
    public const uint VFIO_SPAPR_TCE_IOMMU = 2;

    /// <summary>Type 1 IOMMU, version 2: unmap never cuts a mapping.</summary>
    public const uint VFIO_TYPE1v2_IOMMU = 3;

    /// <summary>The IOMMU enforces cache coherence (no-snoop is stripped).</summary>
    public const uint VFIO_DMA_CC_IOMMU = 4;

    /// <summary>PowerPC enhanced error handling.</summary>
    public const uint VFIO_EEH = 5;

    /// <summary>Formerly two-stage type 1; reserved.</summary>
    public const uint __VFIO_RESERVED_TYPE1_NESTING_IOMMU = 6;

    /// <summary>IBM sPAPR TCE IOMMU, version 2.</summary>
    public const uint VFIO_SPAPR_TCE_v2_IOMMU = 7;

    /// <summary>No translation and no isolation; taints the kernel.</summary>
    public const uint VFIO_NOIOMMU_IOMMU = 8;

    /// <summary>VFIO_DMA_UNMAP_FLAG_ALL is understood.</summary>
    public const uint VFIO_UNMAP_ALL = 9;

    /// <summary>The vaddr flags of map and unmap are understood.</summary>
    public const uint VFIO_UPDATE_VADDR = 10;
}
