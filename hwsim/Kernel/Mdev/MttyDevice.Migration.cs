using System.Buffers.Binary;
using IommuFd.Native;
using IommuFd.Native.Uapi;
using static IommuFd.Native.Uapi.vfio_device_mig_state;

namespace IommuFd.HwSim.Kernel;

/// <summary>Migration: a stream with a head and the state of each port.</summary>
internal sealed unsafe partial class MttyDevice : IVfioMigration
{
    private const int HeadSize = 24;
    private const ulong Magic = 0x7e9d09898c3e2c4e;
    private vfio_device_mig_state _state = VFIO_DEVICE_STATE_RUNNING;
    private MttyStream? _saving;
    private MttyStream? _resuming;

    /// <inheritdoc/>
    public ulong MigrationFlags => Vfio.VFIO_MIGRATION_STOP_COPY | Vfio.VFIO_MIGRATION_P2P | Vfio.VFIO_MIGRATION_PRE_COPY;

    /// <inheritdoc/>
    public bool PrecopyInfoVersion2 { get; set; }

    /// <inheritdoc/>
    public ulong StopCopyLength => (ulong)(HeadSize + (_ports.Length * SerialPort.StateSize));

    /// <inheritdoc/>
    public vfio_device_mig_state MigrationState
    {
        get
        {
            lock (_lock)
            {
                return _state;
            }
        }
    }

    /// <inheritdoc/>
    public int SetMigrationState(vfio_device_mig_state state, out SimulatedFile? stream)
    {
        stream = null;
        lock (_lock)
        {
            while (_state != state)
            {
                int error = MigrationStates.Next(MigrationFlags, _state, state, out vfio_device_mig_state next);
                if (error == 0)
                {
                    error = Step(next, out stream);
                }

                if (error < 0)
                {
                    return error;
                }

                _state = next;
            }

            return 0;
        }
    }

    private int Step(vfio_device_mig_state next, out SimulatedFile? stream)
    {
        stream = null;
        switch (_state, next)
        {
            case (VFIO_DEVICE_STATE_RESUMING, VFIO_DEVICE_STATE_STOP):
                if (_resuming!.Filled < (int)StopCopyLength)
                {
                    return -Errno.EINVAL;
                }

                for (int i = 0; i < _ports.Length; i++)
                {
                    _ports[i].Load(_resuming.Data.AsSpan(HeadSize + (i * SerialPort.StateSize), SerialPort.StateSize));
                }

                CloseStreams();
                return 0;
            case (VFIO_DEVICE_STATE_PRE_COPY, VFIO_DEVICE_STATE_RUNNING):
            case (VFIO_DEVICE_STATE_PRE_COPY_P2P, VFIO_DEVICE_STATE_RUNNING_P2P):
            case (VFIO_DEVICE_STATE_STOP_COPY, VFIO_DEVICE_STATE_STOP):
                CloseStreams();
                return 0;
            case (VFIO_DEVICE_STATE_RUNNING, VFIO_DEVICE_STATE_PRE_COPY):
            case (VFIO_DEVICE_STATE_RUNNING_P2P, VFIO_DEVICE_STATE_PRE_COPY_P2P):
            case (_, VFIO_DEVICE_STATE_STOP_COPY):
                stream = Save(withPorts: next == VFIO_DEVICE_STATE_STOP_COPY);
                return 0;
            case (VFIO_DEVICE_STATE_STOP, VFIO_DEVICE_STATE_RESUMING):
                _resuming = new MttyStream(this, isSaving: false, (int)StopCopyLength);
                _resuming.Get();
                stream = _resuming;
                return 0;
            default:
                return 0;
        }
    }

    // A stream that pre-copying made already is filled up, and not handed out again.
    private MttyStream? Save(bool withPorts)
    {
        MttyStream? made = null;
        if (_saving is null)
        {
            made = _saving = new MttyStream(this, isSaving: true, (int)StopCopyLength);
            BinaryPrimitives.WriteUInt64LittleEndian(_saving.Data, Magic);
            BinaryPrimitives.WriteInt32LittleEndian(_saving.Data.AsSpan(8), 1);
            BinaryPrimitives.WriteInt32LittleEndian(_saving.Data.AsSpan(16), _ports.Length);
            _saving.Filled = HeadSize;
            _saving.Get();
        }

        if (withPorts)
        {
            for (int i = 0; i < _ports.Length; i++)
            {
                _ports[i].Save(_saving.Data.AsSpan(HeadSize + (i * SerialPort.StateSize), SerialPort.StateSize));
            }

            _saving.Filled = (int)StopCopyLength;
        }

        return made;
    }

    private void CloseStreams()
    {
        _saving?.Disable();
        _saving?.Put();
        _saving = null;
        _resuming?.Disable();
        _resuming?.Put();
        _resuming = null;
    }

    private bool IsHeadValid(ReadOnlySpan<byte> data) =>
        BinaryPrimitives.ReadUInt64LittleEndian(data) == Magic && BinaryPrimitives.ReadInt32LittleEndian(data[8..]) == 1
        && BinaryPrimitives.ReadInt32LittleEndian(data[12..]) == 0 && BinaryPrimitives.ReadInt32LittleEndian(data[16..]) == _ports.Length
        && BinaryPrimitives.ReadInt32LittleEndian(data[20..]) == 0;

    /// <summary>The stream of a migration: read while saving, written while resuming.</summary>
    private sealed class MttyStream(MttyDevice device, bool isSaving, int size) : SimulatedFile
    {
        private int _position;
        private bool _isDisabled;

        public byte[] Data { get; } = new byte[size];

        public int Filled { get; set; }

        public void Disable()
        {
            _isDisabled = true;
            Filled = 0;
            _position = 0;
        }

        public override nint Read(ulong buffer, nuint count, IUserMemory user)
        {
            if (!isSaving)
            {
                return -Errno.EBADF;
            }

            lock (device._lock)
            {
                if (_isDisabled)
                {
                    return -Errno.ENODEV;
                }

                nint length = (nint)Math.Min((ulong)(Filled - _position), count);
                fixed (byte* data = Data)
                {
                    // SAFETY: position + length lie inside what is filled.
                    if (length != 0 && user.CopyTo(buffer, data + _position, (nuint)length) < 0)
                    {
                        return -Errno.EFAULT;
                    }
                }

                _position += (int)length;
                return length;
            }
        }

        public override nint Write(ulong buffer, nuint count, IUserMemory user)
        {
            if (isSaving)
            {
                return -Errno.EBADF;
            }

            lock (device._lock)
            {
                if (count > (nuint)(Data.Length - _position))
                {
                    return -Errno.ENOMEM;
                }

                if (_isDisabled)
                {
                    return -Errno.ENODEV;
                }

                fixed (byte* data = Data)
                {
                    // SAFETY: position + count lie inside the data.
                    if (user.CopyFrom(buffer, data + _position, count) < 0)
                    {
                        return -Errno.EFAULT;
                    }
                }

                _position += (int)count;
                bool headComplete = Filled < HeadSize && Filled + (int)count >= HeadSize;
                Filled += (int)count;
                return headComplete && !device.IsHeadValid(Data) ? -Errno.EFAULT : (nint)count;
            }
        }

        public override nint Pread(ulong buffer, nuint count, long offset, IUserMemory user) => -Errno.ESPIPE;

        public override nint Pwrite(ulong buffer, nuint count, long offset, IUserMemory user) => -Errno.ESPIPE;

        public override int Ioctl(uint request, ulong argument, IUserMemory user)
        {
            if (!isSaving || request != Vfio.VFIO_MIG_GET_PRECOPY_INFO)
            {
                return -Errno.ENOTTY;
            }

            vfio_precopy_info info;
            if (user.CopyFrom(argument, &info, (nuint)sizeof(vfio_precopy_info)) < 0)
            {
                return -Errno.EFAULT;
            }

            if (info.argsz < sizeof(vfio_precopy_info))
            {
                return -Errno.EINVAL;
            }

            lock (device._lock)
            {
                if (device._state is not (VFIO_DEVICE_STATE_PRE_COPY or VFIO_DEVICE_STATE_PRE_COPY_P2P))
                {
                    return -Errno.EINVAL;
                }

                if (_isDisabled)
                {
                    return -Errno.ENODEV;
                }

                info.flags = device.PrecopyInfoVersion2 ? 0 : info.flags;
                info.initial_bytes = (ulong)(Filled - _position);
                info.dirty_bytes = 0;
            }

            return user.CopyTo(argument, &info, (nuint)sizeof(vfio_precopy_info)) < 0 ? -Errno.EFAULT : 0;
        }
    }
}
