using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Remarks on an Intel VT-d unit.</summary>
[Flags]
public enum iommu_hw_info_vtd_flags : uint
{
    /// <summary>Erratum: a nesting parent must not hold read-only mappings.</summary>
    IOMMU_HW_INFO_VTD_ERRATA_772415_SPR17 = 1 << 0,
}

/// <summary>Data of IOMMU_HW_INFO_TYPE_INTEL_VTD.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_hw_info_vtd
{
    /// <summary>Out: iommu_hw_info_vtd_flags.</summary>
    public uint flags;

    /// <summary>Must be 0.</summary>
    public uint __reserved;

    /// <summary>Out: capability register (VT-d specification 11.4.2).</summary>
    public ulong cap_reg;

    /// <summary>Out: extended capability register (VT-d specification 11.4.3).</summary>
    public ulong ecap_reg;
}
