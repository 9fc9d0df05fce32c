using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Answer to a page-fault group (PCIe 10.4.2.1).</summary>
public enum iommufd_page_response_code : uint
{
    /// <summary>Handled; the device shall retry.</summary>
    IOMMUFD_PAGE_RESP_SUCCESS = 0,

    /// <summary>Cannot be handled; the device shall not retry.</summary>
    IOMMUFD_PAGE_RESP_INVALID = 1,
}

/// <summary>Record written to a fault queue: answers a fault group.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_hwpt_page_response
{
    /// <summary>In: cookie of the group's last fault.</summary>
    public uint cookie;

    /// <summary>In: iommufd_page_response_code.</summary>
    public uint code;
}
