using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Argument of Rfc.VFIO_DEVICE_BIND_IOMMUFD (September 2021).</summary>
[StructLayout(LayoutKind.Sequential)]
public struct vfio_device_iommu_bind_data
{
    /// <summary>In: size of this struct in bytes.</summary>
    public uint argsz;

    /// <summary>In: must be 0.</summary>
    public uint flags;

    /// <summary>In: descriptor of /dev/iommu. Four bytes of padding follow.</summary>
    public int iommu_fd;

    /// <summary>In: the user's name for the device in that iommu fd; must be new.</summary>
    public ulong dev_cookie;
}
