using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Type of the entries of IOMMU_HWPT_INVALIDATE.</summary>
public enum iommu_hwpt_invalidate_data_type : uint
{
    /// <summary>iommu_hwpt_vtd_s1_invalidate, on a nested page table.</summary>
    IOMMU_HWPT_INVALIDATE_DATA_VTD_S1 = 0,

    /// <summary>iommu_viommu_arm_smmuv3_invalidate, on a virtual IOMMU.</summary>
    IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3 = 1,
}

/// <summary>Argument of IOMMU_HWPT_INVALIDATE: an array of invalidations after a user-managed table changed.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_hwpt_invalidate
{
    /// <summary>In: size of this struct in bytes.</summary>
    public uint size;

    /// <summary>In: nested page table or virtual IOMMU.</summary>
    public uint hwpt_id;

    /// <summary>In: address of the array of entries.</summary>
    public ulong data_uptr;

    /// <summary>In: iommu_hwpt_invalidate_data_type of every entry.</summary>
    public uint data_type;

    /// <summary>In: length in bytes of one entry.</summary>
    public uint entry_len;

    /// <summary>In: number of entries; 0 only asks whether the type is supported. Out: number of entries that were handled.</summary>
    public uint entry_num;

    /// <summary>Must be 0.</summary>
    public uint __reserved;
}
