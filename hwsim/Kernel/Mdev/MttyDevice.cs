using System.Buffers.Binary;
using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// A PCI serial controller in software, as the kernel's sample driver makes it: it has interrupts, can migrate and has a DMA log that is always
/// empty.
/// </summary>
/// <remarks>Does not model: what reading more than one byte of a register leaves in the other bytes (here 0).</remarks>
internal sealed unsafe partial class MttyDevice : EmulatedVfioDevice, IVfioDmaLog
{
    private const int OffsetShift = 40, BarSize = 8, ConfigSize = 0xff;
    private readonly Lock _lock = new();
    private readonly byte[] _config = new byte[256];
    private readonly SerialPort[] _ports;

    public MttyDevice(VfioCore core, string name, IommuDevice iommu, DirectoryNode directory, int ports)
        : base(core, name, iommu, directory)
    {
        _ports = [.. Enumerable.Range(0, ports).Select(_ => new SerialPort(RaiseInterrupt))];
        BinaryPrimitives.WriteUInt32LittleEndian(_config, 0x32534348);
        _config[4] = 1;
        _config[7] = 2;
        BinaryPrimitives.WriteUInt32LittleEndian(_config.AsSpan(8), 0x07000210);
        for (int port = 0; port < ports; port++)
        {
            _config[0x10 + (4 * port)] = 1;
        }

        BinaryPrimitives.WriteUInt32LittleEndian(_config.AsSpan(0x2c), 0x32534348);
        _config[0x3d] = 1;
        "#"u8.CopyTo(_config.AsSpan(0x40));
        _config[0x43] = 0x80;
        _config[0x44] = _config[0x48] = _config[0x4c] = 0x23;
        "PCI Serial/UART"u8.CopyTo(_config.AsSpan(0x60));
    }

    /// <summary>1 or 2.</summary>
    public int Ports => _ports.Length;

    /// <inheritdoc/>
    public override int Ioctl(uint request, ulong argument, IUserMemory user)
    {
        switch (request)
        {
            case Vfio.VFIO_DEVICE_GET_INFO:
                return GetInfo(argument, user);
            case Vfio.VFIO_DEVICE_GET_IRQ_INFO:
                return GetIrqInfo(argument, user);
            case Vfio.VFIO_DEVICE_SET_IRQS:
                return SetIrqs(argument, user);
            case Vfio.VFIO_DEVICE_RESET:
                lock (_lock)
                {
                    _state = vfio_device_mig_state.VFIO_DEVICE_STATE_RUNNING;
                    CloseStreams();
                    return 0;
                }

            default:
                return -Errno.ENOTTY;
        }
    }

    /// <inheritdoc/>
    public override int RegionInfo(ref vfio_region_info info, List<byte[]> capabilities)
    {
        if (info.index >= Vfio.VFIO_PCI_NUM_REGIONS)
        {
            return -Errno.EINVAL;
        }

        info.offset = (ulong)info.index << OffsetShift;
        info.flags = Vfio.VFIO_REGION_INFO_FLAG_READ | Vfio.VFIO_REGION_INFO_FLAG_WRITE;
        info.size = info.index == Vfio.VFIO_PCI_CONFIG_REGION_INDEX ? ConfigSize : info.index < (uint)_ports.Length ? (ulong)BarSize : 0;
        return 0;
    }

    /// <inheritdoc/>
    public override nint Read(ulong buffer, nuint count, long offset, IUserMemory user) => Move(buffer, count, offset, user, write: false);

    /// <inheritdoc/>
    public override nint Write(ulong buffer, nuint count, long offset, IUserMemory user) => Move(buffer, count, offset, user, write: true);

    /// <inheritdoc/>
    public int StartLog(IReadOnlyList<(ulong First, ulong Last)> ranges, ref ulong pageSize) => 0;

    /// <inheritdoc/>
    public int StopLog() => 0;

    /// <inheritdoc/>
    public int ReadLog(ulong iova, ulong length, Action<ulong, ulong> written) => 0;

    /// <inheritdoc/>
    protected override int OpenDevice() => 0;

    /// <inheritdoc/>
    protected override void CloseDevice()
    {
        lock (_lock)
        {
            CloseStreams();
            DisableInterrupts();
        }
    }

    // Aligned pieces of 4, 2 or 1 bytes; anything that fails is EFAULT.
    private nint Move(ulong buffer, nuint count, long position, IUserMemory user, bool write)
    {
        nint done = 0;
        while (count != 0)
        {
            int bytes = count >= 4 && position % 4 == 0 ? 4 : count >= 2 && position % 2 == 0 ? 2 : 1;
            uint value = 0;

            // SAFETY: bytes is at most 4, the size of value.
            if (write && user.CopyFrom(buffer, &value, (nuint)bytes) < 0)
            {
                return -Errno.EFAULT;
            }

            lock (_lock)
            {
                if (!MoveOne(position, bytes, ref value, write))
                {
                    return -Errno.EFAULT;
                }
            }

            if (!write && user.CopyTo(buffer, &value, (nuint)bytes) < 0)
            {
                return -Errno.EFAULT;
            }

            count -= (nuint)bytes;
            buffer += (ulong)bytes;
            position += bytes;
            done += bytes;
        }

        return done;
    }

    private bool MoveOne(long position, int bytes, ref uint value, bool write)
    {
        long index = position >> OffsetShift;
        int offset = (ushort)position;
        switch (index)
        {
            case Vfio.VFIO_PCI_CONFIG_REGION_INDEX:
                if (write)
                {
                    WriteConfig(offset, value);
                }
                else
                {
                    for (int i = 0; i < bytes && offset + i < _config.Length; i++)
                    {
                        value |= (uint)_config[offset + i] << (8 * i);
                    }
                }

                return true;
            case >= 0 and <= Vfio.VFIO_PCI_BAR5_REGION_INDEX:
                if (index < _ports.Length)
                {
                    if (write)
                    {
                        _ports[index].Write(offset, (byte)value);
                    }
                    else
                    {
                        value = _ports[index].Read(offset);
                    }
                }

                return true;
            default:
                return false;
        }
    }

    private void WriteConfig(int offset, uint value)
    {
        switch (offset)
        {
            case 0x3c:
                _config[0x3c] = (byte)value;
                break;
            case 0x10 or 0x14:
                if (offset == 0x14 && _ports.Length == 1)
                {
                    value = 0;
                }
                else
                {
                    value = (value == 0xffffffff ? unchecked((uint)-BarSize) : value) | (_config[offset] & 3u);
                }

                BinaryPrimitives.WriteUInt32LittleEndian(_config.AsSpan(offset), value);
                break;
            case 0x18 or 0x1c or 0x20:
                BinaryPrimitives.WriteUInt32LittleEndian(_config.AsSpan(offset), 0);
                break;
            default:
                break;
        }
    }
}
