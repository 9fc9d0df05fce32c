using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Argument of IOMMU_VDEVICE_ALLOC: tells a virtual IOMMU by which id the guest knows a device.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_vdevice_alloc
{
    /// <summary>In: size of this struct in bytes.</summary>
    public uint size;

    /// <summary>In: virtual IOMMU.</summary>
    public uint viommu_id;

    /// <summary>In: bound device.</summary>
    public uint dev_id;

    /// <summary>Out: object id.</summary>
    public uint out_vdevice_id;

    /// <summary>In: id in the guest: stream id (Arm), device id (AMD), requester id (Intel).</summary>
    public ulong virt_id;
}
