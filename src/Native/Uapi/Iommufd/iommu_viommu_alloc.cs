using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Kind of a virtual IOMMU.</summary>
public enum iommu_viommu_type : uint
{
    /// <summary>Reserved.</summary>
    IOMMU_VIOMMU_TYPE_DEFAULT = 0,

    /// <summary>Arm SMMUv3.</summary>
    IOMMU_VIOMMU_TYPE_ARM_SMMUV3 = 1,

    /// <summary>Arm SMMUv3 with NVIDIA's command-queue extension; the guest must see VINTF_CONFIG.HYP_OWN as 0.</summary>
    IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV = 2,
}

/// <summary>Data of IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV: where page 0 of the virtual interface can be mmapped.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_viommu_tegra241_cmdqv
{
    /// <summary>Out: mmap offset on the iommufd.</summary>
    public ulong out_vintf_mmap_offset;

    /// <summary>Out: mmap length in bytes.</summary>
    public ulong out_vintf_mmap_length;
}

/// <summary>Argument of IOMMU_VIOMMU_ALLOC: makes a virtual IOMMU, one guest's slice of a physical one.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_viommu_alloc
{
    /// <summary>In: size of this struct in bytes.</summary>
    public uint size;

    /// <summary>In: must be 0.</summary>
    public uint flags;

    /// <summary>In: iommu_viommu_type.</summary>
    public uint type;

    /// <summary>In: device whose physical IOMMU backs it.</summary>
    public uint dev_id;

    /// <summary>In: nesting parent.</summary>
    public uint hwpt_id;

    /// <summary>Out: object id.</summary>
    public uint out_viommu_id;

    /// <summary>In: length in bytes of the data at data_uptr.</summary>
    public uint data_len;

    /// <summary>Must be 0.</summary>
    public uint __reserved;

    /// <summary>In: address of driver-specific data.</summary>
    public ulong data_uptr;
}
