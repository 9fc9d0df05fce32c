using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Flags of IOMMU_HWPT_ALLOC.</summary>
[Flags]
public enum iommufd_hwpt_alloc_flags : uint
{
    /// <summary>The table can be the second stage under nested tables.</summary>
    IOMMU_HWPT_ALLOC_NEST_PARENT = 1 << 0,

    /// <summary>Only devices whose IOMMU can track dirty pages may be attached.</summary>
    IOMMU_HWPT_ALLOC_DIRTY_TRACKING = 1 << 1,

    /// <summary>fault_id names a fault queue.</summary>
    IOMMU_HWPT_FAULT_ID_VALID = 1 << 2,

    /// <summary>The table may be attached to a PASID; once a PASID is in use, the device's own table needs this flag too.</summary>
    IOMMU_HWPT_ALLOC_PASID = 1 << 3,
}

/// <summary>Type of the driver-specific data of IOMMU_HWPT_ALLOC.</summary>
public enum iommu_hwpt_data_type : uint
{
    /// <summary>No data: the kernel manages the table.</summary>
    IOMMU_HWPT_DATA_NONE = 0,

    /// <summary>iommu_hwpt_vtd_s1.</summary>
    IOMMU_HWPT_DATA_VTD_S1 = 1,

    /// <summary>iommu_hwpt_arm_smmuv3.</summary>
    IOMMU_HWPT_DATA_ARM_SMMUV3 = 2,

    /// <summary>iommu_hwpt_amd_guest.</summary>
    IOMMU_HWPT_DATA_AMD_GUEST = 3,
}

/// <summary>
/// Argument of IOMMU_HWPT_ALLOC: makes a hardware page table, kernel-managed on an address space or user-managed (nested) on a parent or virtual
/// IOMMU.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_hwpt_alloc
{
    /// <summary>In: size of this struct in bytes.</summary>
    public uint size;

    /// <summary>In: iommufd_hwpt_alloc_flags.</summary>
    public uint flags;

    /// <summary>In: bound device whose IOMMU defines the format.</summary>
    public uint dev_id;

    /// <summary>In: id of an address space, of a nesting parent or of a virtual IOMMU.</summary>
    public uint pt_id;

    /// <summary>Out: object id of the new table.</summary>
    public uint out_hwpt_id;

    /// <summary>Must be 0.</summary>
    public uint __reserved;

    /// <summary>In: iommu_hwpt_data_type.</summary>
    public uint data_type;

    /// <summary>In: length in bytes of the data at data_uptr, 0 without data.</summary>
    public uint data_len;

    /// <summary>In: address of the driver-specific data, 0 without data.</summary>
    public ulong data_uptr;

    /// <summary>In: fault queue for page requests; read with IOMMU_HWPT_FAULT_ID_VALID only.</summary>
    public uint fault_id;

    /// <summary>Must be 0.</summary>
    public uint __reserved2;
}
