using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Remarks on an Arm SMMUv3.</summary>
[Flags]
public enum iommu_hw_info_arm_smmuv3_flags : uint
{
    /// <summary>Erratum T264-SMMU-3: TLBI and CFGI followed by SYNC must be issued twice.</summary>
    IOMMU_HW_INFO_ARM_SMMUV3_ERRATA_REPEAT_TLBI_CFGI = 1 << 0,
}

/// <summary>Data of IOMMU_HW_INFO_TYPE_ARM_SMMUV3: raw identification registers (SMMUv3 specification 6.3.1 to 6.3.6).</summary>
/// <remarks>
/// Only ST_LEVEL, TERM_MODEL, STALL_MODEL, TTENDIAN, CD2L, ASID16, TTF (IDR0), SIDSIZE, SSIDSIZE (IDR1), BBML, RIL (IDR3) and VAX, GRAN64K,
/// GRAN16K, GRAN4K, DS (IDR5) may be relied on.
/// </remarks>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_hw_info_arm_smmuv3
{
    /// <summary>Out: iommu_hw_info_arm_smmuv3_flags.</summary>
    public uint flags;

    /// <summary>Must be 0.</summary>
    public uint __reserved;

    /// <summary>Out: SMMU_IDR0 to SMMU_IDR5.</summary>
    public InlineArray6<uint> idr;

    /// <summary>Out: SMMU_IIDR, implementer and product.</summary>
    public uint iidr;

    /// <summary>Out: SMMU_AIDR, architecture version.</summary>
    public uint aidr;
}
