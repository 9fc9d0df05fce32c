using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Constants of iommu_page_response (Linux 5.14).</summary>
public static partial class Rfc
{
    /// <summary>Version of the struct.</summary>
    public const uint IOMMU_PAGE_RESP_VERSION_1 = 1;

    /// <summary>pasid is valid.</summary>
    public const uint IOMMU_PAGE_RESP_PASID_VALID = 1 << 0;
}

/// <summary>Answer to a page request (Linux 5.14).</summary>
public enum iommu_page_response_code : uint
{
    /// <summary>Handled; the device shall retry.</summary>
    IOMMU_PAGE_RESP_SUCCESS = 0,

    /// <summary>Cannot be handled; the device shall not retry.</summary>
    IOMMU_PAGE_RESP_INVALID = 1,

    /// <summary>General failure; later requests of this device are dropped.</summary>
    IOMMU_PAGE_RESP_FAILURE = 2,
}

/// <summary>Answer to a page request (Linux 5.14).</summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_page_response
{
    /// <summary>In: size of this struct in bytes.</summary>
    public uint argsz;

    /// <summary>In: IOMMU_PAGE_RESP_VERSION_1.</summary>
    public uint version;

    /// <summary>In: IOMMU_PAGE_RESP_PASID_VALID.</summary>
    public uint flags;

    /// <summary>In: PASID.</summary>
    public uint pasid;

    /// <summary>In: page request group index.</summary>
    public uint grpid;

    /// <summary>In: iommu_page_response_code.</summary>
    public uint code;
}
