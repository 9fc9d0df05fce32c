using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>
/// Argument of VFIO_BIND_IOMMU_FD: puts a device under an iommu fd. Closing the device undoes it. Layout ours, field names the RFC's.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
public struct vfio_bind_iommu_fd
{
    /// <summary>In: size of this struct in bytes.</summary>
    public uint argsz;

    /// <summary>In: must be 0.</summary>
    public uint flags;

    /// <summary>In: descriptor of /dev/iommu.</summary>
    public int iommu_fd;

    /// <summary>Must be 0.</summary>
    public uint __reserved;

    /// <summary>In: the user's name for the device in that iommu fd; must be new.</summary>
    public ulong cookie;
}
