using IommuFd.Native;
using IommuFd.Sysfs;

namespace IommuFd;

/// <summary>A PCI function's configuration space (PCI Local Bus 3.0 chapter 6, PCI Express 7), little-endian, through the kernel.</summary>
public sealed unsafe class ConfigSpace : Resource
{
    /// <summary>The region's number at a PCI device.</summary>
    public const uint RegionIndex = 7;

    private readonly BoundDevice _device;
    private readonly RegionInfo _info;

    private ConfigSpace(BoundDevice device, RegionInfo info)
        : base(device)
    {
        _device = device;
        _info = info;
    }

    /// <summary>256, or 4096 for a PCI Express function.</summary>
    public uint Size => (uint)_info.Size;

    /// <summary>Vendor id, offset 0.</summary>
    public ushort VendorId => Read16(0);

    /// <summary>Device id, offset 2.</summary>
    public ushort DeviceId => Read16(2);

    /// <summary>The command register, offset 4.</summary>
    public ushort Command
    {
        get => Read16(4);
        set => Write16(4, value);
    }

    internal static ConfigSpace Open(BoundDevice device)
    {
        device.Enter();
        try
        {
            return new ConfigSpace(device, device.Calls.GetRegionInfo(RegionIndex));
        }
        catch
        {
            device.Exit();
            throw;
        }
    }

    /// <summary>Both capability lists, in list order. An offset that leads out of the list's part, or back, ends the walk.</summary>
    /// <exception cref="IommuFdException">The kernel refused.</exception>
    public IReadOnlyList<PciCapability> ReadCapabilities()
    {
        List<PciCapability> found = [];
        HashSet<uint> seen = [];
        uint at = (Read16(6) & 0x10) != 0 ? Read8(0x34) & 0xfcu : 0; // Status: Capabilities List
        while (at is >= 0x40 and < 0x100 && seen.Add(at))
        {
            ushort header = Read16(at);
            found.Add(new PciCapability((byte)header, (int)at, false));
            at = (uint)(header >> 8) & 0xfc;
        }

        at = Size > 0x100 ? 0x100u : 0;
        while (at >= 0x100 && at <= Size - 4 && seen.Add(at))
        {
            uint header = Read32(at);
            if (header is 0 or uint.MaxValue)
            {
                break;
            }

            found.Add(new PciCapability((ushort)header, (int)at, true));
            at = (header >> 20) & 0xffc;
        }

        return found;
    }

    /// <summary>The first capability of an id, or null.</summary>
    /// <exception cref="IommuFdException">The kernel refused.</exception>
    public PciCapability? FindCapability(ushort id, bool isExtended = false)
    {
        foreach (PciCapability capability in ReadCapabilities())
        {
            if (capability.Id == id && capability.IsExtended == isExtended)
            {
                return capability;
            }
        }

        return null;
    }

    /// <summary>Sets the Bus Master Enable bit: without it the device cannot do DMA or send messages. VFIO leaves it off.</summary>
    /// <exception cref="IommuFdException">The kernel refused.</exception>
    public void EnableBusMaster() => Command |= 1 << 2;

    /// <summary>Clears the Bus Master Enable bit.</summary>
    /// <exception cref="IommuFdException">The kernel refused.</exception>
    public void DisableBusMaster() => Command &= unchecked((ushort)~(1 << 2));

    /// <summary>Reads a byte.</summary>
    /// <exception cref="ArgumentException">The offset is outside.</exception>
    /// <exception cref="IommuFdException">The kernel refused.</exception>
    public byte Read8(uint offset) => Read<byte>(offset);

    /// <summary>Reads 16 bits.</summary>
    /// <exception cref="ArgumentException">The offset is outside or not aligned.</exception>
    /// <exception cref="IommuFdException">The kernel refused.</exception>
    public ushort Read16(uint offset) => Read<ushort>(offset);

    /// <summary>Reads 32 bits.</summary>
    /// <exception cref="ArgumentException">The offset is outside or not aligned.</exception>
    /// <exception cref="IommuFdException">The kernel refused.</exception>
    public uint Read32(uint offset) => Read<uint>(offset);

    /// <summary>Writes a byte.</summary>
    /// <exception cref="ArgumentException">The offset is outside.</exception>
    /// <exception cref="IommuFdException">The kernel refused.</exception>
    public void Write8(uint offset, byte value) => Write(offset, value);

    /// <summary>Writes 16 bits.</summary>
    /// <exception cref="ArgumentException">The offset is outside or not aligned.</exception>
    /// <exception cref="IommuFdException">The kernel refused.</exception>
    public void Write16(uint offset, ushort value) => Write(offset, value);

    /// <summary>Writes 32 bits.</summary>
    /// <exception cref="ArgumentException">The offset is outside or not aligned.</exception>
    /// <exception cref="IommuFdException">The kernel refused.</exception>
    public void Write32(uint offset, uint value) => Write(offset, value);

    private T Read<T>(uint offset)
        where T : unmanaged
    {
        Validate(offset, sizeof(T));
        Enter();
        try
        {
            // SAFETY: the value is on the stack and as long as stated.
            T value = default;
            nint result = _device.Calls.Handle.Pread((nint)(&value), (nuint)sizeof(T), (long)(_info.Offset + offset));
            return result == sizeof(T) ? value : throw Refused("pread", result, offset);
        }
        finally
        {
            Exit();
        }
    }

    private void Write<T>(uint offset, T value)
        where T : unmanaged
    {
        Validate(offset, sizeof(T));
        Enter();
        try
        {
            // SAFETY: the value is on the stack and as long as stated.
            nint result = _device.Calls.Handle.Pwrite((nint)(&value), (nuint)sizeof(T), (long)(_info.Offset + offset));
            if (result != sizeof(T))
            {
                throw Refused("pwrite", result, offset);
            }
        }
        finally
        {
            Exit();
        }
    }

    private void Validate(uint offset, int width)
    {
        if (offset >= Size || (uint)width > Size - offset || offset % (uint)width != 0)
        {
            throw new ArgumentException($"0x{offset:x} is outside the {Size} bytes of configuration space, or not aligned to {width}.",
                nameof(offset));
        }
    }

    private static IommuFdException Refused(string operation, nint result, uint offset) => Failure.Of(
        $"{operation} configuration space", result < 0 ? (int)result : -Errno.EIO, Evidence.Hex("offset", offset));

    private protected override void Free()
    {
    }
}
