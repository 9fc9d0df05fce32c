using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Type of the driver-specific data of IOMMU_GET_HW_INFO.</summary>
public enum iommu_hw_info_type : uint
{
    /// <summary>Out: the driver reports nothing.</summary>
    IOMMU_HW_INFO_TYPE_NONE = 0,

    /// <summary>In: the driver's main type.</summary>
    IOMMU_HW_INFO_TYPE_DEFAULT = 0,

    /// <summary>iommu_hw_info_vtd.</summary>
    IOMMU_HW_INFO_TYPE_INTEL_VTD = 1,

    /// <summary>iommu_hw_info_arm_smmuv3.</summary>
    IOMMU_HW_INFO_TYPE_ARM_SMMUV3 = 2,

    /// <summary>iommu_hw_info_tegra241_cmdqv.</summary>
    IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV = 3,

    /// <summary>iommu_hw_info_amd.</summary>
    IOMMU_HW_INFO_TYPE_AMD = 4,
}

/// <summary>Capabilities that do not depend on the vendor.</summary>
[Flags]
public enum iommufd_hw_capabilities : uint
{
    /// <summary>Dirty pages can be tracked.</summary>
    IOMMU_HW_CAP_DIRTY_TRACKING = 1 << 0,

    /// <summary>The device's PASID capability has execute permission; means nothing when out_max_pasid_log2 is 0.</summary>
    IOMMU_HW_CAP_PCI_PASID_EXEC = 1 << 1,

    /// <summary>The device's PASID capability has privileged mode; means nothing when out_max_pasid_log2 is 0.</summary>
    IOMMU_HW_CAP_PCI_PASID_PRIV = 1 << 2,

    /// <summary>The device cannot use ATS. Clear means that it may.</summary>
    IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED = 1 << 3,
}

/// <summary>Flags of IOMMU_GET_HW_INFO.</summary>
[Flags]
public enum iommufd_hw_info_flags : uint
{
    /// <summary>in_data_type asks for a particular type.</summary>
    IOMMU_HW_INFO_FLAG_INPUT_TYPE = 1 << 0,
}

/// <summary>Argument of IOMMU_GET_HW_INFO: raw registers and general capabilities of the IOMMU behind a bound device.</summary>
[StructLayout(LayoutKind.Explicit)]
public struct iommu_hw_info
{
    /// <summary>In: size of this struct in bytes.</summary>
    [FieldOffset(0)]
    public uint size;

    /// <summary>In: iommufd_hw_info_flags.</summary>
    [FieldOffset(4)]
    public uint flags;

    /// <summary>In: bound device.</summary>
    [FieldOffset(8)]
    public uint dev_id;

    /// <summary>In: length in bytes of the buffer at data_uptr, may be 0. Out: length the kernel has; a longer buffer's tail is zeroed.</summary>
    [FieldOffset(12)]
    public uint data_len;

    /// <summary>In: address of the buffer for the driver-specific data.</summary>
    [FieldOffset(16)]
    public ulong data_uptr;

    /// <summary>In: iommu_hw_info_type wanted, with IOMMU_HW_INFO_FLAG_INPUT_TYPE.</summary>
    [FieldOffset(24)]
    public uint in_data_type;

    /// <summary>Out: iommu_hw_info_type of the data.</summary>
    [FieldOffset(24)]
    public uint out_data_type;

    /// <summary>Out: width of PASIDs in bits, 0 without PASID support.</summary>
    [FieldOffset(28)]
    public byte out_max_pasid_log2;

    /// <summary>Must be 0.</summary>
    [FieldOffset(29)]
    public InlineArray3<byte> __reserved;

    /// <summary>Out: iommufd_hw_capabilities.</summary>
    [FieldOffset(32)]
    public ulong out_capabilities;
}
