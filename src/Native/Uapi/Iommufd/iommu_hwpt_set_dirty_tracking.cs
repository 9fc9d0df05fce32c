using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Flags of IOMMU_HWPT_SET_DIRTY_TRACKING.</summary>
[Flags]
public enum iommufd_hwpt_set_dirty_tracking_flags : uint
{
    /// <summary>Track; clear: stop.</summary>
    IOMMU_HWPT_DIRTY_TRACKING_ENABLE = 1,
}

/// <summary>Argument of IOMMU_HWPT_SET_DIRTY_TRACKING: turns dirty tracking of a page table on or off.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_hwpt_set_dirty_tracking
{
    /// <summary>In: size of this struct in bytes.</summary>
    public uint size;

    /// <summary>In: iommufd_hwpt_set_dirty_tracking_flags.</summary>
    public uint flags;

    /// <summary>In: page table.</summary>
    public uint hwpt_id;

    /// <summary>Must be 0.</summary>
    public uint __reserved;
}
