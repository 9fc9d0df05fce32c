using System.Buffers.Binary;

namespace IommuFd.HwSim.Devices;

/// <summary>
/// A PCI configuration space (PCI Local Bus 3.0 chapter 6, PCIe base 7.5): bytes, which of their bits software can write, which it clears by writing
/// 1.
/// </summary>
public sealed class PciConfigSpace
{
    /// <summary>Offset of the command register.</summary>
    public const int Command = 0x04;

    /// <summary>Offset of the status register.</summary>
    public const int Status = 0x06;

    /// <summary>Offset of BAR 0.</summary>
    public const int Bar0 = 0x10;

    /// <summary>Offset of the capability pointer.</summary>
    public const int CapabilityPointer = 0x34;

    private readonly byte[] _bytes;
    private readonly byte[] _writable;
    private readonly byte[] _clearable;
    private int _lastCapability = CapabilityPointer;
    private int _nextCapability = 0x40;
    private int _lastExtended;
    private int _nextExtended = 0x100;

    /// <summary>An empty type 0 header.</summary>
    /// <param name="identity">Its identification.</param>
    /// <param name="size">256 (conventional PCI) or 4096 (PCIe).</param>
    public PciConfigSpace(PciIdentity identity, int size)
    {
        if (size is not (256 or 4096))
            throw new ArgumentException("A configuration space has 256 or 4096 bytes.", nameof(size));
        _bytes = new byte[size];
        _writable = new byte[size];
        _clearable = new byte[size];
        Set16(0x00, identity.Vendor);
        Set16(0x02, identity.Device);
        Set32(0x08, (identity.Class << 8) | identity.Revision);
        Set16(0x2c, identity.SubsystemVendor);
        Set16(0x2e, identity.Subsystem);
        Writable(Command, 2, 0x0547);     // I/O, memory, bus master, parity, SERR, INTx disable
        Clearable(Status, 2, 0xf900);
        Writable(0x0c, 1, 0xff);
        Writable(0x3c, 1, 0xff);
    }

    /// <summary>256 or 4096.</summary>
    public int Size => _bytes.Length;

    /// <summary>Reads as software does; all ones outside the space.</summary>
    /// <param name="offset">Byte offset.</param>
    /// <param name="bytes">1, 2 or 4.</param>
    public uint Read(int offset, int bytes)
    {
        // What a device looks at before each transfer, in one access.
        if (bytes == 2 && (uint)offset < (uint)_bytes.Length - 1)
            return BinaryPrimitives.ReadUInt16LittleEndian(_bytes.AsSpan(offset));
        uint value = 0;
        for (var i = 0; i < bytes; i++)
            value |= (uint)((uint)(offset + i) < (uint)_bytes.Length ? _bytes[offset + i] : 0xff) << (8 * i);
        return value;
    }

    /// <summary>Writes as software does: read-only bits stay. Nothing happens outside the space.</summary>
    /// <param name="offset">Byte offset.</param>
    /// <param name="bytes">1, 2 or 4.</param>
    /// <param name="value">The value.</param>
    public void Write(int offset, int bytes, uint value)
    {
        for (var i = 0; i < bytes; i++)
        {
            var at = offset + i;
            if ((uint)at >= (uint)_bytes.Length)
                return;
            var b = (byte)(value >> (8 * i));
            _bytes[at] = (byte)(((_bytes[at] & ~_writable[at]) | (b & _writable[at])) & ~(b & _clearable[at]));
        }
    }

    /// <summary>The device sets a byte, whatever software may write.</summary>
    /// <param name="offset">Byte offset.</param>
    /// <param name="value">The value.</param>
    public void Set8(int offset, byte value) => _bytes[offset] = value;

    /// <summary>The device sets 16 bits.</summary>
    /// <inheritdoc cref="Set8"/>
    public void Set16(int offset, ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(_bytes.AsSpan(offset), value);

    /// <summary>The device sets 32 bits.</summary>
    /// <inheritdoc cref="Set8"/>
    public void Set32(int offset, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(_bytes.AsSpan(offset), value);

    /// <summary>Lets software write bits.</summary>
    /// <param name="offset">Byte offset.</param>
    /// <param name="bytes">1 to 4.</param>
    /// <param name="mask">The bits.</param>
    public void Writable(int offset, int bytes, uint mask)
    {
        for (var i = 0; i < bytes; i++)
            _writable[offset + i] = (byte)(mask >> (8 * i));
    }

    /// <summary>Lets software clear bits by writing 1.</summary>
    /// <inheritdoc cref="Writable"/>
    public void Clearable(int offset, int bytes, uint mask)
    {
        for (var i = 0; i < bytes; i++)
            _clearable[offset + i] = (byte)(mask >> (8 * i));
    }

    /// <summary>The next capability begins at this offset: for a device whose layout is known.</summary>
    /// <param name="offset">A multiple of 4, not before the end of the last capability.</param>
    public void SkipTo(int offset) => _nextCapability = offset >= _nextCapability
        ? offset
        : throw new InvalidOperationException($"0x{offset:x} is taken.");

    /// <summary>Adds a capability at the end of the list.</summary>
    /// <param name="id">Capability id.</param>
    /// <param name="length">Bytes, id and next pointer included.</param>
    /// <returns>Its offset.</returns>
    public int AddCapability(byte id, int length)
    {
        var offset = _nextCapability;
        if (offset + length > 0x100)
            throw new InvalidOperationException($"No room for a capability of {length} bytes below 0x100.");
        _nextCapability += (length + 3) & ~3;
        _bytes[_lastCapability] = (byte)offset;
        _lastCapability = offset + 1;
        _bytes[offset] = id;
        Set16(Status, (ushort)(Read(Status, 2) | 0x10));
        return offset;
    }

    /// <summary>Adds an extended capability (PCIe).</summary>
    /// <param name="id">Extended capability id.</param>
    /// <param name="version">Its version.</param>
    /// <param name="length">Bytes, header included.</param>
    /// <returns>Its offset.</returns>
    public int AddExtendedCapability(ushort id, byte version, int length)
    {
        var offset = _nextExtended;
        if (offset + length > _bytes.Length)
            throw new InvalidOperationException($"No room for an extended capability of {length} bytes.");
        _nextExtended += (length + 3) & ~3;
        if (_lastExtended != 0)
            Set32(_lastExtended, Read(_lastExtended, 4) | ((uint)offset << 20));
        _lastExtended = offset;
        Set32(offset, id | ((uint)version << 16));
        return offset;
    }

    /// <summary>Keeps the present bytes, to go back to at reset.</summary>
    public byte[] Save() => (byte[])_bytes.Clone();

    /// <summary>Goes back to bytes that were kept.</summary>
    /// <param name="bytes">From <see cref="Save"/>.</param>
    public void Restore(byte[] bytes) => bytes.CopyTo(_bytes, 0);
}
