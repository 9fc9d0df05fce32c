using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>One page request of a device (struct iommu_fault_page_request).</summary>
/// <param name="Flags">IOMMU_FAULT_PAGE_REQUEST_*: 1 = a PASID is there, 2 = the last of its group, 4 = the response needs the PASID.</param>
/// <param name="Pasid">The PASID, when there is one.</param>
/// <param name="GroupIndex">The page-request group index.</param>
/// <param name="Permissions">What access is wanted: 1 = read, 2 = write, 4 = execute, 8 = privileged.</param>
/// <param name="Address">The IOVA.</param>
public readonly record struct IoPageFault(uint Flags, uint Pasid, uint GroupIndex, uint Permissions, ulong Address)
{
    /// <summary>Flag: a PASID is there.</summary>
    public const uint PasidValid = 1;

    /// <summary>Flag: the last request of its group.</summary>
    public const uint LastPage = 2;
}

/// <summary>DMA that the unit refused and that nobody can mend (struct iommu_fault_unrecoverable).</summary>
/// <param name="RequesterId">Who did it.</param>
/// <param name="Pasid">The PASID, or null.</param>
/// <param name="Address">The IOVA.</param>
/// <param name="Permissions">What access was wanted: 1 = read, 2 = write.</param>
/// <param name="Reason">Why it was refused.</param>
public readonly record struct IoDmaFault(ushort RequesterId, uint? Pasid, ulong Address, uint Permissions, iommu_fault_reason Reason);

/// <summary>How a group of page requests ends (enum iommu_page_response_code).</summary>
public enum PageResponseCode
{
    /// <summary>The pages are there: try again.</summary>
    Success,

    /// <summary>They are not going to be there.</summary>
    Invalid,

    /// <summary>Something else went wrong.</summary>
    Failure,
}

/// <summary>Page requests that are answered together (struct iopf_group).</summary>
/// <param name="handle">The attachment that they came through.</param>
/// <param name="faults">The requests, in order.</param>
/// <param name="respond">Hands the answer to the device.</param>
public sealed class IoPageFaultGroup(IommuAttachHandle handle, IReadOnlyList<IoPageFault> faults, Action<PageResponseCode> respond)
{
    /// <summary>The attachment that they came through.</summary>
    public IommuAttachHandle Handle { get; } = handle;

    /// <summary>The requests, in order.</summary>
    public IReadOnlyList<IoPageFault> Faults { get; } = faults;

    internal uint Cookie { get; set; }

    /// <summary>Answers (iopf_group_response). Once.</summary>
    public void Respond(PageResponseCode code) => respond(code);
}
