using IommuFd.Native;
using IommuFd.Native.Uapi;
using static IommuFd.Native.Uapi.Vfio;

namespace IommuFd;

/// <summary>The migration state machine of a device (include/uapi/linux/vfio.h, VFIO_DEVICE_FEATURE_MIGRATION and MIG_DEVICE_STATE).</summary>
public sealed class Migration : Resource
{
    private readonly BoundDevice _device;

    private Migration(BoundDevice device, ulong flags)
        : base(device)
    {
        _device = device;
        Flags = flags;
    }

    /// <summary>VFIO_MIGRATION_*: STOP_COPY always, P2P and PRE_COPY where the device has those states.</summary>
    public ulong Flags { get; }

    /// <summary>Whether the device can be quiesced towards its peers before it is stopped.</summary>
    public bool HasPeerToPeer => (Flags & VFIO_MIGRATION_P2P) != 0;

    /// <summary>Whether the device's state can be copied while it runs.</summary>
    public bool HasPreCopy => (Flags & VFIO_MIGRATION_PRE_COPY) != 0;

    /// <summary>The state now.</summary>
    /// <exception cref="IommuFdException">The kernel refused.</exception>
    public vfio_device_mig_state State
    {
        get
        {
            vfio_device_feature_mig_state data = default;
            _ = _device.Calls.GetFeature(VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, ref data);
            return (vfio_device_mig_state)data.device_state;
        }
    }

    internal static Migration Open(BoundDevice device)
    {
        device.Enter();
        try
        {
            vfio_device_feature_migration data = default;
            _ = device.Calls.GetFeature(VFIO_DEVICE_FEATURE_MIGRATION, ref data);
            return new Migration(device, data.flags);
        }
        catch
        {
            device.Exit();
            throw;
        }
    }

    /// <summary>
    /// VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE: moves to a state, through whatever states lie between. On failure the device may be in
    /// VFIO_DEVICE_STATE_ERROR: look at <see cref="State"/>, reset.
    /// </summary>
    /// <param name="state">The state.</param>
    /// <returns>The data stream that entering STOP_COPY, PRE_COPY or RESUMING opens; null for other states.</returns>
    /// <exception cref="IommuFdException">EINVAL there is no way from here to there.</exception>
    public MigrationStream? SetState(vfio_device_mig_state state)
    {
        vfio_device_feature_mig_state data = new() { device_state = (uint)state, data_fd = -1 };
        _ = _device.Calls.SetFeature(VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, ref data);
        return data.data_fd >= 0 ? new MigrationStream(_device, new MigrationDataHandle(_device.Host.Kernel, data.data_fd)) : null;
    }

    /// <summary>VFIO_DEVICE_FEATURE_MIG_DATA_SIZE: an estimate of the bytes that STOP_COPY will give; the device is not disturbed.</summary>
    /// <exception cref="IommuFdException">ENOTTY the device does not tell.</exception>
    public ulong GetDataSize()
    {
        vfio_device_feature_mig_data_size data = default;
        _ = _device.Calls.GetFeature(VFIO_DEVICE_FEATURE_MIG_DATA_SIZE, ref data);
        return data.stop_copy_length;
    }

    private protected override void Free()
    {
    }
}

/// <summary>A device's state as bytes: read while saving, written while resuming. What they mean is the device's business.</summary>
public sealed unsafe class MigrationStream : Resource
{
    private readonly MigrationDataHandle _handle;

    internal MigrationStream(BoundDevice device, MigrationDataHandle handle)
        : base(Held(device)) => _handle = handle;

    /// <summary>Reads a piece; 0 at the end, or in PRE_COPY when there is nothing more for now.</summary>
    /// <exception cref="IommuFdException">The device failed.</exception>
    public int Read(Span<byte> buffer)
    {
        fixed (byte* pointer = buffer)
        {
            // SAFETY: the buffer is pinned for the call and as long as stated.
            nint result = _handle.Read((nint)pointer, (nuint)buffer.Length);
            return result >= 0 ? (int)result : result == -Errno.ENOMSG ? 0 : throw Failure.Of("read migration data", (int)result);
        }
    }

    /// <summary>Writes a piece.</summary>
    /// <returns>The bytes that were taken.</returns>
    /// <exception cref="IommuFdException">EINVAL the device does not accept the data.</exception>
    public int Write(ReadOnlySpan<byte> buffer)
    {
        fixed (byte* pointer = buffer)
        {
            // SAFETY: the buffer is pinned for the call and as long as stated.
            nint result = _handle.Write((nint)pointer, (nuint)buffer.Length);
            return result >= 0 ? (int)result : throw Failure.Of("write migration data", (int)result);
        }
    }

    /// <summary>VFIO_MIG_GET_PRECOPY_INFO: how many bytes are still to come before it makes sense to stop.</summary>
    /// <param name="initialBytes">Bytes that must be moved in PRE_COPY for a quick stop.</param>
    /// <param name="dirtyBytes">Bytes that changed since they were read.</param>
    /// <exception cref="IommuFdException">EINVAL the device is not in PRE_COPY.</exception>
    public void GetPrecopyInfo(out ulong initialBytes, out ulong dirtyBytes)
    {
        vfio_precopy_info info = new() { argsz = (uint)sizeof(vfio_precopy_info) };
        _ = Failure.Check(_handle.Ioctl(VFIO_MIG_GET_PRECOPY_INFO, ref info), nameof(VFIO_MIG_GET_PRECOPY_INFO));
        (initialBytes, dirtyBytes) = (info.initial_bytes, info.dirty_bytes);
    }

    private static BoundDevice Held(BoundDevice device)
    {
        device.Enter();
        return device;
    }

    private protected override void Free() => _handle.Dispose();
}
