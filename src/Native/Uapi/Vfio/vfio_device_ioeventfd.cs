using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Flags of vfio_device_ioeventfd: exactly one width.</summary>
public static partial class Vfio
{
    /// <summary>Write 1 byte.</summary>
    public const uint VFIO_DEVICE_IOEVENTFD_8 = 1 << 0;

    /// <summary>Write 2 bytes.</summary>
    public const uint VFIO_DEVICE_IOEVENTFD_16 = 1 << 1;

    /// <summary>Write 4 bytes.</summary>
    public const uint VFIO_DEVICE_IOEVENTFD_32 = 1 << 2;

    /// <summary>Write 8 bytes.</summary>
    public const uint VFIO_DEVICE_IOEVENTFD_64 = 1 << 3;

    /// <summary>All widths.</summary>
    public const uint VFIO_DEVICE_IOEVENTFD_SIZE_MASK = 0xf;
}

/// <summary>Argument of VFIO_DEVICE_IOEVENTFD: the kernel writes a value to the device whenever an eventfd is signalled.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct vfio_device_ioeventfd
{
    /// <summary>In: size of this struct in bytes.</summary>
    public uint argsz;

    /// <summary>In: VFIO_DEVICE_IOEVENTFD_* width.</summary>
    public uint flags;

    /// <summary>In: where to write, offset in the device file.</summary>
    public ulong offset;

    /// <summary>In: value to write.</summary>
    public ulong data;

    /// <summary>In: eventfd; -1 ends the arrangement.</summary>
    public int fd;

    /// <summary>Must be 0.</summary>
    public uint reserved;
}
