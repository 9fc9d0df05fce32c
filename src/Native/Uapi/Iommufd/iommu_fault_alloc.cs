using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>
/// Argument of IOMMU_FAULT_QUEUE_ALLOC: makes a queue from which iommu_hwpt_pgfault is read and to which iommu_hwpt_page_response is written.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_fault_alloc
{
    /// <summary>In: size of this struct in bytes.</summary>
    public uint size;

    /// <summary>In: must be 0.</summary>
    public uint flags;

    /// <summary>Out: object id of the queue.</summary>
    public uint out_fault_id;

    /// <summary>Out: descriptor of the queue; the caller closes it.</summary>
    public uint out_fault_fd;
}
