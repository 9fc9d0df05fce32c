using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Flags of one VT-d first-stage invalidation.</summary>
[Flags]
public enum iommu_hwpt_vtd_s1_invalidate_flags : uint
{
    /// <summary>Only leaf entries changed.</summary>
    IOMMU_VTD_INV_FLAGS_LEAF = 1 << 0,
}

/// <summary>Entry of IOMMU_HWPT_INVALIDATE_DATA_VTD_S1. The device TLB follows by itself when ATS is on.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_hwpt_vtd_s1_invalidate
{
    /// <summary>In: first address, 4 KiB aligned; 0 together with npages 2^64-1 means everything.</summary>
    public ulong addr;

    /// <summary>In: number of 4 KiB pages.</summary>
    public ulong npages;

    /// <summary>In: iommu_hwpt_vtd_s1_invalidate_flags.</summary>
    public uint flags;

    /// <summary>Must be 0.</summary>
    public uint __reserved;
}
