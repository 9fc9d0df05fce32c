using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Kind of a hardware queue.</summary>
public enum iommu_hw_queue_type : uint
{
    /// <summary>Reserved.</summary>
    IOMMU_HW_QUEUE_TYPE_DEFAULT = 0,

    /// <summary>
    /// Virtual command queue of NVIDIA's extension: made in ascending, destroyed in descending index order; base aligned to the length, a power
    /// of two.
    /// </summary>
    IOMMU_HW_QUEUE_TYPE_TEGRA241_CMDQV = 1,
}

/// <summary>Argument of IOMMU_HW_QUEUE_ALLOC: lets the hardware read a guest's queue directly.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_hw_queue_alloc
{
    /// <summary>In: size of this struct in bytes.</summary>
    public uint size;

    /// <summary>In: must be 0.</summary>
    public uint flags;

    /// <summary>In: virtual IOMMU.</summary>
    public uint viommu_id;

    /// <summary>In: iommu_hw_queue_type.</summary>
    public uint type;

    /// <summary>In: number of the queue within its type.</summary>
    public uint index;

    /// <summary>Out: object id.</summary>
    public uint out_hw_queue_id;

    /// <summary>In: guest physical address of the queue.</summary>
    public ulong nesting_parent_iova;

    /// <summary>In: length in bytes of the queue.</summary>
    public ulong length;
}
