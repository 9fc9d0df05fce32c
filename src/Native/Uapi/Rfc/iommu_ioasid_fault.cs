using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Flags of iommu_ioasid_fault (ours).</summary>
public static partial class Rfc
{
    /// <summary>vpasid is valid.</summary>
    public const uint IOMMU_IOASID_FAULT_PASID_VALID = 1 << 0;

    /// <summary>Last of a group of requests.</summary>
    public const uint IOMMU_IOASID_FAULT_LAST_PAGE = 1 << 1;

    /// <summary>The DMA has failed; there is nothing to complete.</summary>
    public const uint IOMMU_IOASID_FAULT_UNRECOVERABLE = 1 << 2;

    /// <summary>Records before this one were lost.</summary>
    public const uint IOMMU_IOASID_FAULT_LOST = 1 << 3;

    /// <summary>The request was answered meanwhile; a record of a mapped region only, that is to be skipped.</summary>
    public const uint IOMMU_IOASID_FAULT_ENDED = 1 << 4;
}

/// <summary>Argument of IOMMU_IOASID_FAULT_REGION: where an address space's faults are reported. Layout ours.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_ioasid_fault_region
{
    /// <summary>In: size of this struct in bytes.</summary>
    public uint argsz;

    /// <summary>In: must be 0.</summary>
    public uint flags;

    /// <summary>In: address space.</summary>
    public int ioasid;

    /// <summary>In: eventfd signalled for new records, -1 for none.</summary>
    public int eventfd;

    /// <summary>In: most records that wait to be read. Out: what was granted.</summary>
    public uint nr_records;

    /// <summary>Out: bytes per record in the region, at least those of iommu_ioasid_fault.</summary>
    public uint record_size;

    /// <summary>Out: descriptor to read records from; the caller closes it.</summary>
    public int out_fd;

    /// <summary>Must be 0.</summary>
    public uint __reserved;
}

/// <summary>
/// First bytes of a fault region that is mapped: a ring of records. Layout ours. A counter's record is at offset + (counter % nr_records) *
/// record_size.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_ioasid_fault_ring
{
    /// <summary>Out: records that were ever written.</summary>
    public ulong head;

    /// <summary>In: records that were ever consumed; the user counts it up to head.</summary>
    public ulong tail;

    /// <summary>Out: records that the ring has room for.</summary>
    public uint nr_records;

    /// <summary>Out: bytes per record.</summary>
    public uint record_size;

    /// <summary>Out: bytes from the start of the mapping to the first record.</summary>
    public uint offset;

    /// <summary>Out: 0.</summary>
    public uint __reserved;
}

/// <summary>Record read from a fault region. Layout ours.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_ioasid_fault
{
    /// <summary>Out: address space.</summary>
    public int ioasid;

    /// <summary>Out: IOMMU_IOASID_FAULT_* of this struct.</summary>
    public uint flags;

    /// <summary>Out: device cookie.</summary>
    public ulong cookie;

    /// <summary>Out: faulting address.</summary>
    public ulong addr;

    /// <summary>Out: IOMMU_FAULT_PERM_*.</summary>
    public uint perm;

    /// <summary>Out: iommu_fault_reason.</summary>
    public uint reason;

    /// <summary>Out: the user's PASID.</summary>
    public uint vpasid;

    /// <summary>Out: name of the request, for the completion.</summary>
    public uint fault_id;
}

/// <summary>Argument of IOMMU_IOASID_FAULT_COMPLETE: answers a page request. Layout ours.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_ioasid_fault_completion
{
    /// <summary>In: size of this struct in bytes.</summary>
    public uint argsz;

    /// <summary>In: must be 0.</summary>
    public uint flags;

    /// <summary>In: address space.</summary>
    public int ioasid;

    /// <summary>In: name of the request.</summary>
    public uint fault_id;

    /// <summary>In: device cookie.</summary>
    public ulong cookie;

    /// <summary>In: iommu_page_response_code.</summary>
    public uint code;

    /// <summary>Must be 0.</summary>
    public uint __reserved;
}
