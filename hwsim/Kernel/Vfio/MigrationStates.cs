using IommuFd.Native;
using IommuFd.Native.Uapi;
using static IommuFd.Native.Uapi.vfio_device_mig_state;

namespace IommuFd.HwSim.Kernel;

/// <summary>The way through a migrating device's states (vfio_mig_get_next_state): every step is one that the driver must know.</summary>
internal static class MigrationStates
{
    // Row: the state now. Column: the state wanted. States in the order of their numbers: ERROR, STOP, RUNNING, STOP_COPY, RESUMING, RUNNING_P2P,
    // PRE_COPY, PRE_COPY_P2P.
    private static readonly byte[,] s_next =
    {
        { 0, 0, 0, 0, 0, 0, 0, 0 },
        { 0, 1, 5, 3, 4, 5, 5, 5 },
        { 0, 5, 2, 5, 5, 5, 6, 5 },
        { 0, 1, 1, 3, 1, 1, 0, 0 },
        { 0, 1, 1, 1, 4, 1, 1, 1 },
        { 0, 1, 2, 1, 1, 5, 2, 7 },
        { 0, 2, 2, 7, 2, 2, 6, 7 },
        { 0, 5, 5, 3, 5, 5, 6, 7 },
    };

    /// <summary>The next step from one state to another for a device with these migration flags.</summary>
    /// <returns>0, or -EINVAL for a state that there is not, or a way that is barred.</returns>
    public static int Next(ulong flags, vfio_device_mig_state current, vfio_device_mig_state wanted, out vfio_device_mig_state next)
    {
        next = VFIO_DEVICE_STATE_ERROR;
        if (!Has(flags, current) || !Has(flags, wanted))
        {
            return -Errno.EINVAL;
        }

        // States that the device does not have are stepped over.
        next = (vfio_device_mig_state)s_next[(int)current, (int)wanted];
        while (next != VFIO_DEVICE_STATE_ERROR && !Has(flags, next))
        {
            next = (vfio_device_mig_state)s_next[(int)next, (int)wanted];
        }

        return next == VFIO_DEVICE_STATE_ERROR ? -Errno.EINVAL : 0;
    }

    private static bool Has(ulong flags, vfio_device_mig_state state)
    {
        ulong needed = state switch
        {
            VFIO_DEVICE_STATE_STOP or VFIO_DEVICE_STATE_RUNNING or VFIO_DEVICE_STATE_STOP_COPY or VFIO_DEVICE_STATE_RESUMING =>
                Vfio.VFIO_MIGRATION_STOP_COPY,
            VFIO_DEVICE_STATE_RUNNING_P2P => Vfio.VFIO_MIGRATION_STOP_COPY | Vfio.VFIO_MIGRATION_P2P,
            VFIO_DEVICE_STATE_PRE_COPY => Vfio.VFIO_MIGRATION_STOP_COPY | Vfio.VFIO_MIGRATION_PRE_COPY,
            VFIO_DEVICE_STATE_PRE_COPY_P2P => Vfio.VFIO_MIGRATION_STOP_COPY | Vfio.VFIO_MIGRATION_P2P | Vfio.VFIO_MIGRATION_PRE_COPY,
            _ => ulong.MaxValue,
        };
        return (flags & needed) == needed;
    }
}

/// <summary>A device that can be moved to another machine (struct vfio_migration_ops).</summary>
internal interface IVfioMigration
{
    /// <summary>VFIO_MIGRATION_* flags.</summary>
    ulong MigrationFlags { get; }

    /// <summary>True once the user asked for version 2 of the pre-copy information.</summary>
    bool PrecopyInfoVersion2 { get; set; }

    /// <summary>The state now.</summary>
    vfio_device_mig_state MigrationState { get; }

    /// <summary>Bytes that stopping and copying will take.</summary>
    ulong StopCopyLength { get; }

    /// <summary>Goes to a state: 0 and the data stream that goes with it, or none; or -errno.</summary>
    int SetMigrationState(vfio_device_mig_state state, out SimulatedFile? stream);
}

/// <summary>A device that can tell which memory it wrote (struct vfio_log_ops).</summary>
internal interface IVfioDmaLog
{
    /// <summary>Starts logging these ranges, first and last IOVA; the page size may be changed to one that the device has.</summary>
    int StartLog(IReadOnlyList<(ulong First, ulong Last)> ranges, ref ulong pageSize);

    /// <summary>Stops.</summary>
    int StopLog();

    /// <summary>Reports what was written in a range since the last report, as first and last IOVA, and forgets it.</summary>
    int ReadLog(ulong iova, ulong length, Action<ulong, ulong> written);
}
