using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Attributes of an Intel VT-d first-stage table (VT-d specification, scalable-mode PASID-table entry).</summary>
[Flags]
public enum iommu_hwpt_vtd_s1_flags : uint
{
    /// <summary>Supervisor requests are allowed (SRE).</summary>
    IOMMU_VTD_S1_SRE = 1 << 0,

    /// <summary>The extended-accessed flag is maintained (EAFE).</summary>
    IOMMU_VTD_S1_EAFE = 1 << 1,

    /// <summary>Write protection also binds supervisor requests (WPE).</summary>
    IOMMU_VTD_S1_WPE = 1 << 2,
}

/// <summary>Data of IOMMU_HWPT_DATA_VTD_S1: a guest's first-stage page table.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_hwpt_vtd_s1
{
    /// <summary>In: iommu_hwpt_vtd_s1_flags.</summary>
    public ulong flags;

    /// <summary>In: guest physical address of the root table page.</summary>
    public ulong pgtbl_addr;

    /// <summary>In: width in bits of the input address: 48 or 57.</summary>
    public uint addr_width;

    /// <summary>Must be 0.</summary>
    public uint __reserved;
}
