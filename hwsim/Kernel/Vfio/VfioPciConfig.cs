using System.Buffers.Binary;
using IommuFd.Native;
using static IommuFd.HwSim.Kernel.PciRegisters;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// The configuration space of a function as its user sees it (drivers/vfio/pci/vfio_pci_config.c): some bits are the hardware's, some are kept here,
/// some may be written. BARs can be sized but not moved, capabilities that a user must not have are not in the chain.
/// </summary>
/// <remarks>Does not model: the vital product data behind its capability.</remarks>
internal sealed unsafe partial class VfioPciConfig
{
    private const byte Unassigned = 0xff;
    private readonly VfioPciDevice _device;
    private readonly PciFunction _function;
    private readonly byte[] _map;
    private readonly byte[] _virtual;
    private readonly uint[] _realBars = new uint[6];
    private VfioConfigPermissions? _msi;
    private bool _barsDirty = true;
    private bool _intxDisabled;

    /// <summary>vfio_config_init: what the user finds at first.</summary>
    public VfioPciConfig(VfioPciDevice device)
    {
        _device = device;
        _function = device.Function;
        _map = new byte[_function.ConfigSize];
        _virtual = new byte[_function.ConfigSize];
        _map.AsSpan(PCI_STD_HEADER_SIZEOF).Fill(Unassigned);
        Fill(0, PCI_STD_HEADER_SIZEOF);
        for (int i = 0; i < _realBars.Length; i++)
        {
            _realBars[i] = Word32(PCI_BASE_ADDRESS_0 + (4 * i));
        }

        if (_function.IsVirtual)
        {
            // A virtual function shows neither ids nor a memory enable bit, and has no interrupt line.
            BinaryPrimitives.WriteUInt16LittleEndian(_virtual.AsSpan(PCI_VENDOR_ID), _function.Vendor);
            BinaryPrimitives.WriteUInt16LittleEndian(_virtual.AsSpan(PCI_DEVICE_ID), _function.Device);
            _virtual[PCI_INTERRUPT_PIN] = 0;
            _virtual[PCI_COMMAND] |= (byte)PCI_COMMAND_MEMORY;
        }

        if (_function.Irq == 0)
        {
            _virtual[PCI_INTERRUPT_PIN] = 0;
        }

        InitCapabilities();
        if (_function.Express != 0 && _function.ConfigSize > PCI_CFG_SPACE_SIZE && _function.Read(PCI_CFG_SPACE_SIZE, 4) != 0)
        {
            InitExtendedCapabilities();
        }
    }

    /// <summary>The interrupt pin that the user sees.</summary>
    public byte InterruptPin => _virtual[PCI_INTERRUPT_PIN];

    /// <summary>The command register as the user last wrote it (memory and I/O enable), or as it was found.</summary>
    public ushort Command => BinaryPrimitives.ReadUInt16LittleEndian(_virtual.AsSpan(PCI_COMMAND));

    /// <summary>0 for D0 to 3 for D3hot.</summary>
    public int PowerState { get; private set; }

    /// <summary>Reads or writes a range; every piece is an aligned 1, 2 or 4 bytes of one capability.</summary>
    public nint Move(ulong buffer, nuint count, long position, IUserMemory user, bool write)
    {
        nint done = 0;
        while (count != 0)
        {
            int moved = MoveOne(buffer, count, position, user, write);
            if (moved < 0)
            {
                return moved;
            }

            count -= (nuint)moved;
            buffer += (ulong)moved;
            position += moved;
            done += moved;
        }

        return done;
    }

    private int MoveOne(ulong buffer, nuint count, long position, IUserMemory user, bool write)
    {
        if (position >= _map.Length || (ulong)position + count > (ulong)_map.Length)
        {
            return -Errno.EFAULT;
        }

        int at = (int)position;
        int left = (int)Math.Min(count, (nuint)RemainingInDWord(at));
        int bytes = left >= 4 && at % 4 == 0 ? 4 : left >= 2 && at % 2 == 0 ? 2 : 1;
        VfioConfigPermissions permissions = Permissions(at, out int offset);
        uint value = 0;

        // SAFETY: bytes is at most 4, the size of value.
        if (write)
        {
            if (permissions.IsDirect && !permissions.IsRawWrite)
            {
                return bytes;
            }

            if (user.CopyFrom(buffer, &value, (nuint)bytes) < 0)
            {
                return -Errno.EFAULT;
            }

            Write(at, bytes, permissions, offset, value);
            return bytes;
        }

        value = Read(at, bytes, permissions, offset);
        return user.CopyTo(buffer, &value, (nuint)bytes) < 0 ? -Errno.EFAULT : bytes;
    }

    private int RemainingInDWord(int at)
    {
        int length = 1;
        while ((at + length) % 4 != 0 && _map[at + length] == _map[at])
        {
            length++;
        }

        return length;
    }

    private VfioConfigPermissions Permissions(int at, out int offset)
    {
        byte id = _map[at];
        offset = 0;
        if (id == Unassigned)
        {
            return VfioConfigPermissions.Unassigned;
        }

        int start = CapabilityStart(at);
        offset = at - start;
        return at >= PCI_CFG_SPACE_SIZE
            ? VfioConfigPermissions.OfExtended(id)
            : id == PCI_CAP_ID_MSI ? _msi!
            : VfioConfigPermissions.OfCapability(id);
    }

    private int CapabilityStart(int at)
    {
        if (at < PCI_STD_HEADER_SIZEOF)
        {
            return 0;
        }

        int first = at >= PCI_CFG_SPACE_SIZE ? PCI_CFG_SPACE_SIZE : PCI_STD_HEADER_SIZEOF;
        byte id = _map[at];
        while (at > first && _map[at - 1] == id)
        {
            at--;
        }

        return at;
    }

    private uint Read(int at, int bytes, VfioConfigPermissions permissions, int offset)
    {
        if (permissions.IsDirect)
        {
            return ReadDirect(at, bytes, offset);
        }

        if (permissions.Effect == ConfigEffect.Header && IsBar(at))
        {
            FixBars();
        }
        else if (permissions.Effect == ConfigEffect.Msi && offset <= PCI_MSI_FLAGS && offset + bytes >= PCI_MSI_FLAGS)
        {
            // The vectors that can be enabled are those that the ioctl enabled. The kernel writes them into the head of the capability.
            int start = at - offset;
            Set16(start, (Word16(start) & ~(uint)PCI_MSI_FLAGS_QMASK) | (uint)(_device.Interrupts.MsiMaximum << 1));
        }

        uint isVirtual = permissions.Virtual(offset, bytes);
        uint value = VirtualValue(at, bytes);
        if (isVirtual != Ones(bytes))
        {
            value = (_function.Read(at, bytes) & ~isVirtual) | (value & isVirtual);
        }

        if (permissions.Effect == ConfigEffect.Header && at == PCI_COMMAND && _function.IsVirtual)
        {
            value |= (uint)(Command & PCI_COMMAND_MEMORY);
        }

        return value;
    }

    // The hardware's value, but for the link of the capability.
    private uint ReadDirect(int at, int bytes, int offset)
    {
        uint value = _function.Read(at, bytes);
        if (_map[at] == Unassigned)
        {
            return value;
        }

        uint known = VirtualValue(at, bytes);
        if (at >= PCI_CFG_SPACE_SIZE)
        {
            return offset < 4 ? known : value;
        }

        if (offset == 0 && bytes > 1)
        {
            return (value & ~0xffffu) | (known & 0xffff);
        }

        return offset == 1 ? known & 0xff : value;
    }

    private static bool IsBar(int at) => at is (>= PCI_BASE_ADDRESS_0 and < PCI_BASE_ADDRESS_5 + 4) or (>= PCI_ROM_ADDRESS and < PCI_ROM_ADDRESS + 4);

    // What sizing finds: the user's address cut to the BAR's size, with the BAR's kind in the low bits.
    private void FixBars()
    {
        if (!_barsDirty)
        {
            return;
        }

        for (int i = 0; i < 6; i++)
        {
            PciResource resource = _function.Resources[i];
            int at = PCI_BASE_ADDRESS_0 + (4 * i);
            if (resource.Start == 0)
            {
                Set32(at, 0);
                continue;
            }

            ulong mask = ~(resource.Length - 1);
            uint kind = resource.IsMemory
                ? ((resource.Flags & IORESOURCE_PREFETCH) != 0 ? 8u : 0) | ((resource.Flags & IORESOURCE_MEM_64) != 0 ? 4u : 0)
                : 1u;
            Set32(at, (Word32(at) & (uint)mask) | kind);
            if ((kind & 4) != 0)
            {
                Set32(at + 4, Word32(at + 4) & (uint)(mask >> 32));
                i++;
            }
        }

        Set32(PCI_ROM_ADDRESS, 0);
        _barsDirty = false;
    }

    private void Fill(int at, int length)
    {
        for (int i = 0; i < length; i++)
        {
            _virtual[at + i] = (byte)_function.Read(at + i, 1);
        }
    }

    private uint VirtualValue(int at, int bytes)
    {
        uint value = 0;
        for (int i = 0; i < bytes; i++)
        {
            value |= (uint)_virtual[at + i] << (8 * i);
        }

        return value;
    }

    private void SetVirtual(int at, int bytes, uint value)
    {
        for (int i = 0; i < bytes; i++)
        {
            _virtual[at + i] = (byte)(value >> (8 * i));
        }
    }

    private static uint Ones(int bytes) => uint.MaxValue >> (32 - (8 * bytes));

    private uint Word16(int at) => BinaryPrimitives.ReadUInt16LittleEndian(_virtual.AsSpan(at));

    private uint Word32(int at) => BinaryPrimitives.ReadUInt32LittleEndian(_virtual.AsSpan(at));

    private void Set16(int at, uint value) => BinaryPrimitives.WriteUInt16LittleEndian(_virtual.AsSpan(at), (ushort)value);

    private void Set32(int at, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(_virtual.AsSpan(at), value);
}
