using System.Buffers.Binary;
using IommuFd.Native;

namespace IommuFd.Sysfs;

/// <summary>One entry of a capability list.</summary>
/// <param name="Id">The capability's id in its list.</param>
/// <param name="Offset">Where it starts in configuration space.</param>
/// <param name="IsExtended">Whether it is in the extended list (offset 0x100 and up).</param>
public readonly record struct PciCapability(ushort Id, int Offset, bool IsExtended)
{
    /// <summary>The name in the PCI Express Base Specification, or the id when it has none here.</summary>
    public string Name => IsExtended
        ? Id switch
        {
            0x01 => "AER", 0x02 => "VC", 0x03 => "Serial Number", 0x04 => "Power Budgeting", 0x0b => "VSEC", 0x0d => "ACS",
            0x0e => "ARI", 0x0f => "ATS",
            0x10 => "SR-IOV", 0x12 => "Multicast", 0x13 => "PRI", 0x15 => "Resizable BAR", 0x16 => "DPA", 0x17 => "TPH", 0x18 => "LTR",
            0x19 => "Secondary PCIe",
            0x1b => "PASID", 0x1d => "DPC", 0x1e => "L1 PM Substates", 0x1f => "PTM", 0x23 => "DVSEC", 0x25 => "Data Link Feature", 0x26 => "16 GT/s",
            0x27 => "Lane Margining", 0x2a => "32 GT/s", 0x2e => "DOE",
            _ => $"extended 0x{Id:x}",
        }
        : Id switch
        {
            0x01 => "Power Management", 0x03 => "VPD", 0x04 => "Slot Id", 0x05 => "MSI", 0x07 => "PCI-X", 0x08 => "HyperTransport",
            0x09 => "Vendor Specific", 0x0a => "Debug Port",
            0x0d => "Bridge Subsystem", 0x10 => "PCI Express", 0x11 => "MSI-X", 0x12 => "SATA", 0x13 => "AF", 0x14 => "Enhanced Allocation",
            _ => $"0x{Id:x}",
        };
}

/// <summary>A function's configuration space as sysfs shows it: 64 bytes to the unprivileged, all of it to root.</summary>
public sealed class PciConfigSpace
{
    private readonly byte[] _bytes;

    private PciConfigSpace(byte[] bytes)
    {
        _bytes = bytes;
        Capabilities = Walk();
    }

    /// <summary>Bytes that could be read.</summary>
    public int Length => _bytes.Length;

    /// <summary>Whether the function answered nothing but ones: it is off, in D3cold, or lost.</summary>
    public bool IsAllOnes => _bytes.Length >= 64 && !_bytes.AsSpan(0, 64).ContainsAnyExcept((byte)0xff);

    /// <summary>Whether the capability lists could be read: they start behind the first 64 bytes.</summary>
    public bool HasCapabilities => _bytes.Length > 64;

    /// <summary>Header type without the multi-function bit: 0 for endpoints, 1 for bridges.</summary>
    public int HeaderType => Byte(0x0e) & 0x7f;

    /// <summary>Both capability lists, in list order.</summary>
    public IReadOnlyList<PciCapability> Capabilities { get; }

    /// <summary>Reads a function's configuration space, or null when it cannot be read.</summary>
    public static PciConfigSpace? Read(ISysfs sysfs, PciAddress address) =>
        sysfs.ReadBytes(PciBus.DevicePath(address) + "/config", out byte[] bytes) >= 64 ? new PciConfigSpace(bytes) : null;

    /// <summary>The capability of an id, or null.</summary>
    public PciCapability? Find(ushort id, bool extended)
    {
        foreach (PciCapability capability in Capabilities)
        {
            if (capability.Id == id && capability.IsExtended == extended)
            {
                return capability;
            }
        }

        return null;
    }

    /// <summary>One byte; 0 behind the end.</summary>
    public byte Byte(int offset) => offset < _bytes.Length ? _bytes[offset] : (byte)0;

    /// <summary>Two bytes, little-endian; 0 behind the end.</summary>
    public ushort Word(int offset) => offset + 2 <= _bytes.Length ? BinaryPrimitives.ReadUInt16LittleEndian(_bytes.AsSpan(offset)) : (ushort)0;

    /// <summary>Four bytes, little-endian; 0 behind the end.</summary>
    public uint Long(int offset) => offset + 4 <= _bytes.Length ? BinaryPrimitives.ReadUInt32LittleEndian(_bytes.AsSpan(offset)) : 0;

    private List<PciCapability> Walk()
    {
        List<PciCapability> found = [];
        if (IsAllOnes || (Word(0x06) & 0x10) == 0)
        {
            return found;
        }

        // A broken list can point to itself: 48 entries fill the space, 1024 the extended one.
        for (int at = Byte(0x34) & ~3, left = 48; at >= 0x40 && left > 0 && at < Length; at = Byte(at + 1) & ~3, left--)
        {
            found.Add(new PciCapability(Byte(at), at, false));
        }

        for (int at = 0x100, left = 1024; at >= 0x100 && left > 0 && at + 4 <= Length; left--)
        {
            uint header = Long(at);
            if (header is 0 or uint.MaxValue)
            {
                break;
            }

            found.Add(new PciCapability((ushort)header, at, true));
            at = (int)(header >> 20) & ~3;
        }

        return found;
    }
}
