using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Argument of VFIO_DEVICE_ATTACH_IOASID and VFIO_DEVICE_DETACH_IOASID (September 2021).</summary>
[StructLayout(LayoutKind.Sequential)]
public struct vfio_device_attach_ioasid
{
    /// <summary>In: size of this struct in bytes.</summary>
    public uint argsz;

    /// <summary>In: must be 0.</summary>
    public uint flags;

    /// <summary>In: descriptor of /dev/iommu that the device is bound to.</summary>
    public int iommu_fd;

    /// <summary>In: address space.</summary>
    public int ioasid;
}
