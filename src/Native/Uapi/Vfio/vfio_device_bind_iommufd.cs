using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Flags of vfio_device_bind_iommufd.</summary>
public static partial class Vfio
{
    /// <summary>token_uuid_ptr is valid.</summary>
    public const uint VFIO_DEVICE_BIND_FLAG_TOKEN = 1 << 0;
}

/// <summary>
/// Argument of VFIO_DEVICE_BIND_IOMMUFD: puts a device opened as cdev under an iommufd. Before it nothing else works; closing the device undoes
/// it.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
public struct vfio_device_bind_iommufd
{
    /// <summary>In: size of this struct in bytes.</summary>
    public uint argsz;

    /// <summary>In: VFIO_DEVICE_BIND_FLAG_TOKEN or 0.</summary>
    public uint flags;

    /// <summary>In: descriptor of /dev/iommu.</summary>
    public int iommufd;

    /// <summary>Out: object id of the device in that iommufd.</summary>
    public uint out_devid;

    /// <summary>In: address of the 16-byte VF token, with VFIO_DEVICE_BIND_FLAG_TOKEN.</summary>
    public ulong token_uuid_ptr;
}
