using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Flags of a virtual event's header.</summary>
[Flags]
public enum iommu_veventq_flag : uint
{
    /// <summary>Events were lost at the end of the queue; no data follows this header.</summary>
    IOMMU_VEVENTQ_FLAG_LOST_EVENTS = 1U << 0,
}

/// <summary>Precedes every event that is read from a virtual event queue.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommufd_vevent_header
{
    /// <summary>Out: iommu_veventq_flag.</summary>
    public uint flags;

    /// <summary>Out: index of the event, 0 to 2^31-1, then 0 again; a gap counts lost events.</summary>
    public uint sequence;
}

/// <summary>Kind of a virtual event queue.</summary>
public enum iommu_veventq_type : uint
{
    /// <summary>Reserved.</summary>
    IOMMU_VEVENTQ_TYPE_DEFAULT = 0,

    /// <summary>iommu_vevent_arm_smmuv3.</summary>
    IOMMU_VEVENTQ_TYPE_ARM_SMMUV3 = 1,

    /// <summary>iommu_vevent_tegra241_cmdqv.</summary>
    IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV = 2,
}

/// <summary>Event of IOMMU_VEVENTQ_TYPE_ARM_SMMUV3 (SMMUv3 specification 7.3); the stream id is the virtual device's.</summary>
/// <remarks>Reported: C_BAD_STE, F_STREAM_DISABLED, C_BAD_SUBSTREAMID, C_BAD_CD, F_TRANSLATION, F_ADDR_SIZE, F_ACCESS and F_PERMISSION.</remarks>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_vevent_arm_smmuv3
{
    /// <summary>Out: the 256-bit little-endian event record.</summary>
    public InlineArray4<ulong> evt;
}

/// <summary>Event of IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_vevent_tegra241_cmdqv
{
    /// <summary>Out: 128-bit little-endian map of the logical command queues in error (LVCMDQ_ERR_MAP registers).</summary>
    public InlineArray2<ulong> lvcmdq_err_map;
}

/// <summary>Argument of IOMMU_VEVENTQ_ALLOC: makes a queue of a virtual IOMMU's events; one per type.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_veventq_alloc
{
    /// <summary>In: size of this struct in bytes.</summary>
    public uint size;

    /// <summary>In: must be 0.</summary>
    public uint flags;

    /// <summary>In: virtual IOMMU.</summary>
    public uint viommu_id;

    /// <summary>In: iommu_veventq_type.</summary>
    public uint type;

    /// <summary>In: most events that wait to be read; more are lost.</summary>
    public uint veventq_depth;

    /// <summary>Out: object id.</summary>
    public uint out_veventq_id;

    /// <summary>Out: descriptor to read from; the caller closes it.</summary>
    public uint out_veventq_fd;

    /// <summary>Must be 0.</summary>
    public uint __reserved;
}
