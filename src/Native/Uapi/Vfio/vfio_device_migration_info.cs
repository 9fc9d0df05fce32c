using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Device states of the first migration version; deprecated, replaced by vfio_device_mig_state.</summary>
public static partial class Vfio
{
    /// <summary>Stopped.</summary>
    public const uint VFIO_DEVICE_STATE_V1_STOP = 0;

    /// <summary>Running.</summary>
    public const uint VFIO_DEVICE_STATE_V1_RUNNING = 1 << 0;

    /// <summary>Saving.</summary>
    public const uint VFIO_DEVICE_STATE_V1_SAVING = 1 << 1;

    /// <summary>Resuming.</summary>
    public const uint VFIO_DEVICE_STATE_V1_RESUMING = 1 << 2;

    /// <summary>All state bits.</summary>
    public const uint VFIO_DEVICE_STATE_MASK = VFIO_DEVICE_STATE_V1_RUNNING | VFIO_DEVICE_STATE_V1_SAVING | VFIO_DEVICE_STATE_V1_RESUMING;
}

/// <summary>Start of a migration region of the first version; deprecated.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct vfio_device_migration_info
{
    /// <summary>In and out: VFIO_DEVICE_STATE_V1_*.</summary>
    public uint device_state;

    /// <summary>0.</summary>
    public uint reserved;

    /// <summary>Out: bytes still to be read.</summary>
    public ulong pending_bytes;

    /// <summary>Out: offset in bytes of the data in the region.</summary>
    public ulong data_offset;

    /// <summary>In on resume, out on save: bytes of data.</summary>
    public ulong data_size;
}
