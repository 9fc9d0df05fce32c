using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Constants of iommu_fault (Linux 5.14).</summary>
public static partial class Rfc
{
    /// <summary>Read.</summary>
    public const uint IOMMU_FAULT_PERM_READ = 1 << 0;

    /// <summary>Write.</summary>
    public const uint IOMMU_FAULT_PERM_WRITE = 1 << 1;

    /// <summary>Execute.</summary>
    public const uint IOMMU_FAULT_PERM_EXEC = 1 << 2;

    /// <summary>Privileged.</summary>
    public const uint IOMMU_FAULT_PERM_PRIV = 1 << 3;

    /// <summary>pasid is valid.</summary>
    public const uint IOMMU_FAULT_UNRECOV_PASID_VALID = 1 << 0;

    /// <summary>addr is valid.</summary>
    public const uint IOMMU_FAULT_UNRECOV_ADDR_VALID = 1 << 1;

    /// <summary>fetch_addr is valid.</summary>
    public const uint IOMMU_FAULT_UNRECOV_FETCH_ADDR_VALID = 1 << 2;

    /// <summary>pasid is valid.</summary>
    public const uint IOMMU_FAULT_PAGE_REQUEST_PASID_VALID = 1 << 0;

    /// <summary>Last page of a group.</summary>
    public const uint IOMMU_FAULT_PAGE_REQUEST_LAST_PAGE = 1 << 1;

    /// <summary>private_data is valid.</summary>
    public const uint IOMMU_FAULT_PAGE_REQUEST_PRIV_DATA = 1 << 2;

    /// <summary>The response must carry the PASID.</summary>
    public const uint IOMMU_FAULT_PAGE_RESPONSE_NEEDS_PASID = 1 << 3;
}

/// <summary>Kind of a fault (Linux 5.14).</summary>
public enum iommu_fault_type : uint
{
    /// <summary>Unrecoverable.</summary>
    IOMMU_FAULT_DMA_UNRECOV = 1,

    /// <summary>Page request.</summary>
    IOMMU_FAULT_PAGE_REQ = 2,
}

/// <summary>Reason of an unrecoverable fault (Linux 5.14).</summary>
public enum iommu_fault_reason : uint
{
    /// <summary>Unknown.</summary>
    IOMMU_FAULT_REASON_UNKNOWN = 0,

    /// <summary>The PASID table could not be read.</summary>
    IOMMU_FAULT_REASON_PASID_FETCH = 1,

    /// <summary>The PASID entry is invalid or misconfigured.</summary>
    IOMMU_FAULT_REASON_BAD_PASID_ENTRY = 2,

    /// <summary>The PASID is out of range or disabled.</summary>
    IOMMU_FAULT_REASON_PASID_INVALID = 3,

    /// <summary>A page-table entry could not be read or updated.</summary>
    IOMMU_FAULT_REASON_WALK_EABT = 4,

    /// <summary>No translation.</summary>
    IOMMU_FAULT_REASON_PTE_FETCH = 5,

    /// <summary>Not permitted.</summary>
    IOMMU_FAULT_REASON_PERMISSION = 6,

    /// <summary>Access flag clear.</summary>
    IOMMU_FAULT_REASON_ACCESS = 7,

    /// <summary>The output address is out of range.</summary>
    IOMMU_FAULT_REASON_OOR_ADDRESS = 8,
}

/// <summary>An unrecoverable fault (Linux 5.14).</summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_fault_unrecoverable
{
    /// <summary>Out: iommu_fault_reason.</summary>
    public uint reason;

    /// <summary>Out: IOMMU_FAULT_UNRECOV_*.</summary>
    public uint flags;

    /// <summary>Out: PASID.</summary>
    public uint pasid;

    /// <summary>Out: IOMMU_FAULT_PERM_* asked for.</summary>
    public uint perm;

    /// <summary>Out: faulting address.</summary>
    public ulong addr;

    /// <summary>Out: address that could not be fetched.</summary>
    public ulong fetch_addr;
}

/// <summary>A page request (Linux 5.14).</summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_fault_page_request
{
    /// <summary>Out: IOMMU_FAULT_PAGE_REQUEST_*.</summary>
    public uint flags;

    /// <summary>Out: PASID.</summary>
    public uint pasid;

    /// <summary>Out: page request group index.</summary>
    public uint grpid;

    /// <summary>Out: IOMMU_FAULT_PERM_* asked for.</summary>
    public uint perm;

    /// <summary>Out: faulting address.</summary>
    public ulong addr;

    /// <summary>Out: data of the device's own.</summary>
    public InlineArray2<ulong> private_data;
}

/// <summary>A fault record (Linux 5.14), to which the RFC refers.</summary>
[StructLayout(LayoutKind.Explicit, Size = 64)]
public struct iommu_fault
{
    /// <summary>Out: iommu_fault_type.</summary>
    [FieldOffset(0)]
    public uint type;

    /// <summary>0.</summary>
    [FieldOffset(4)]
    public uint padding;

    /// <summary>Out: for IOMMU_FAULT_DMA_UNRECOV.</summary>
    [FieldOffset(8)]
    public iommu_fault_unrecoverable @event;

    /// <summary>Out: for IOMMU_FAULT_PAGE_REQ.</summary>
    [FieldOffset(8)]
    public iommu_fault_page_request prm;
}
