using System.Globalization;

namespace IommuFd.HwSim;

/// <summary>Where a PCI function is.</summary>
/// <param name="Segment">PCI segment (Linux: domain).</param>
/// <param name="Bus">Bus number.</param>
/// <param name="Device">Device number, 0..31.</param>
/// <param name="Function">Function number, 0..7.</param>
internal readonly record struct PciAddress(ushort Segment, byte Bus, byte Device, byte Function) : IComparable<PciAddress>
{
    /// <summary>Bus, device and function as a requester id.</summary>
    public ushort RequesterId => (ushort)((Bus << 8) | DeviceFunction);

    /// <summary>device &lt;&lt; 3 | function.</summary>
    public byte DeviceFunction => (byte)((Device << 3) | Function);

    /// <summary>The function with a requester id.</summary>
    public static PciAddress FromRequesterId(ushort segment, ushort requesterId) =>
        new(segment, (byte)(requesterId >> 8), (byte)((requesterId >> 3) & 0x1f), (byte)(requesterId & 7));

    /// <summary>Reads <c>0000:00:04.0</c>; the segment may be left out.</summary>
    public static bool TryParse(string text, out PciAddress address)
    {
        address = default;
        string[] parts = text.Split(':', '.');
        if (parts.Length == 3)
        {
            parts = ["0", .. parts];
        }

        if (parts.Length != 4
            || !ushort.TryParse(parts[0], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ushort segment)
            || !byte.TryParse(parts[1], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out byte bus)
            || !byte.TryParse(parts[2], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out byte device) || device > 31
            || !byte.TryParse(parts[3], NumberStyles.None, CultureInfo.InvariantCulture, out byte function) || function > 7)
        {
            return false;
        }

        address = new PciAddress(segment, bus, device, function);
        return true;
    }

    /// <inheritdoc/>
    public int CompareTo(PciAddress other) => ((Segment << 16) | RequesterId).CompareTo((other.Segment << 16) | other.RequesterId);

    /// <summary>Earlier address.</summary>
    public static bool operator <(PciAddress left, PciAddress right) => left.CompareTo(right) < 0;

    /// <summary>Later address.</summary>
    public static bool operator >(PciAddress left, PciAddress right) => left.CompareTo(right) > 0;

    /// <summary>Earlier or the same address.</summary>
    public static bool operator <=(PciAddress left, PciAddress right) => left.CompareTo(right) <= 0;

    /// <summary>Later or the same address.</summary>
    public static bool operator >=(PciAddress left, PciAddress right) => left.CompareTo(right) >= 0;

    /// <summary>As Linux names it: <c>0000:00:04.0</c>.</summary>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{Segment:x4}:{Bus:x2}:{Device:x2}.{Function}");
}
