using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Flags of vfio_device_feature_migration and vfio_precopy_info.</summary>
public static partial class Vfio
{
    /// <summary>States STOP, STOP_COPY and RESUMING exist.</summary>
    public const ulong VFIO_MIGRATION_STOP_COPY = 1 << 0;

    /// <summary>State RUNNING_P2P exists.</summary>
    public const ulong VFIO_MIGRATION_P2P = 1 << 1;

    /// <summary>State PRE_COPY exists; with P2P also PRE_COPY_P2P.</summary>
    public const ulong VFIO_MIGRATION_PRE_COPY = 1 << 2;

    /// <summary>New initial data is in the stream.</summary>
    public const uint VFIO_PRECOPY_INFO_REINIT = 1 << 0;
}

/// <summary>States of a migratable device.</summary>
public enum vfio_device_mig_state : uint
{
    /// <summary>Failed; VFIO_DEVICE_RESET leads back to RUNNING. Cannot be set.</summary>
    VFIO_DEVICE_STATE_ERROR = 0,

    /// <summary>Stopped: no interrupt, no DMA, no change of state.</summary>
    VFIO_DEVICE_STATE_STOP = 1,

    /// <summary>Running.</summary>
    VFIO_DEVICE_STATE_RUNNING = 2,

    /// <summary>Stopped; the state is read from the data descriptor.</summary>
    VFIO_DEVICE_STATE_STOP_COPY = 3,

    /// <summary>Stopped; the state is written to the data descriptor.</summary>
    VFIO_DEVICE_STATE_RESUMING = 4,

    /// <summary>Running, but starts no peer-to-peer DMA.</summary>
    VFIO_DEVICE_STATE_RUNNING_P2P = 5,

    /// <summary>Running; the state can be read ahead and changes are tracked.</summary>
    VFIO_DEVICE_STATE_PRE_COPY = 6,

    /// <summary>As PRE_COPY, but starts no peer-to-peer DMA.</summary>
    VFIO_DEVICE_STATE_PRE_COPY_P2P = 7,

    /// <summary>Number of states.</summary>
    VFIO_DEVICE_STATE_NR = 8,
}

/// <summary>Payload of VFIO_DEVICE_FEATURE_MIGRATION: what the device can do. RUNNING and ERROR always exist.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct vfio_device_feature_migration
{
    /// <summary>Out: VFIO_MIGRATION_*.</summary>
    public ulong flags;
}

/// <summary>Payload of VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE: changes or reads the state.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct vfio_device_feature_mig_state
{
    /// <summary>In on set, out on get: vfio_device_mig_state.</summary>
    public uint device_state;

    /// <summary>Out: descriptor of a new data stream, -1 on get or without one; the caller closes it.</summary>
    public int data_fd;
}

/// <summary>Argument of VFIO_MIG_GET_PRECOPY_INFO, on a data descriptor in the PRE_COPY states: estimates of what is left.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct vfio_precopy_info
{
    /// <summary>In: size of this struct in bytes.</summary>
    public uint argsz;

    /// <summary>Out: VFIO_PRECOPY_INFO_REINIT, after VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2 was set.</summary>
    public uint flags;

    /// <summary>Out: bytes of initial data left; leave PRE_COPY when it is 0.</summary>
    public ulong initial_bytes;

    /// <summary>Out: bytes changed since they were read.</summary>
    public ulong dirty_bytes;
}

/// <summary>Payload of VFIO_DEVICE_FEATURE_MIG_DATA_SIZE.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct vfio_device_feature_mig_data_size
{
    /// <summary>Out: estimated bytes that STOP_COPY will transfer.</summary>
    public ulong stop_copy_length;
}
