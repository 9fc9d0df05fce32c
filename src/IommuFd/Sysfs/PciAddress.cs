using System.Globalization;

namespace IommuFd.Sysfs;

/// <summary>
/// Where a PCI function sits: domain, bus, device and function, written <c>0000:00:04.0</c> as in <c>/sys/bus/pci/devices</c>.
/// </summary>
/// <param name="Domain">The PCI segment; wider than 16 bits only behind VMD.</param>
/// <param name="Bus">0..255.</param>
/// <param name="Device">0..31.</param>
/// <param name="Function">0..7.</param>
public readonly record struct PciAddress(uint Domain, byte Bus, byte Device, byte Function) : IComparable<PciAddress>
{
    /// <summary>The 16-bit requester id that the function's DMA carries: bus, device, function.</summary>
    public ushort RequesterId => (ushort)((Bus << 8) | (Device << 3) | Function);

    /// <summary>Reads <c>DDDD:BB:DD.F</c>, or <c>BB:DD.F</c> in domain 0; hexadecimal, either case.</summary>
    public static bool TryParse(ReadOnlySpan<char> text, out PciAddress address)
    {
        address = default;
        int dot = text.IndexOf('.');
        int last = text.LastIndexOf(':');
        if (dot < 0 || last < 0 || dot < last || text.Length != dot + 2)
        {
            return false;
        }

        ReadOnlySpan<char> front = text[..last];
        int first = front.IndexOf(':');
        ReadOnlySpan<char> domain = first < 0 ? "0000" : front[..first], bus = first < 0 ? front : front[(first + 1)..];
        if (domain.Length is < 4 or > 8 || bus.Length != 2 || dot - last != 3
            || !Hex(domain, out uint domainNumber) || !Hex(bus, out uint busNumber)
            || !Hex(text[(last + 1)..dot], out uint device) || !Hex(text[(dot + 1)..], out uint function) || device > 31 || function > 7)
        {
            return false;
        }

        address = new PciAddress(domainNumber, (byte)busNumber, (byte)device, (byte)function);
        return true;
    }

    /// <summary>Reads an address.</summary>
    /// <exception cref="FormatException"><paramref name="text"/> is not an address.</exception>
    public static PciAddress Parse(string text) =>
        TryParse(text, out PciAddress address) ? address : throw new FormatException($"'{text}' is not a PCI address of the form 0000:00:04.0.");

    /// <inheritdoc/>
    public int CompareTo(PciAddress other) =>
        Domain != other.Domain ? Domain.CompareTo(other.Domain) : RequesterId.CompareTo(other.RequesterId);

    /// <summary>Orders by domain, bus, device, function.</summary>
    public static bool operator <(PciAddress left, PciAddress right) => left.CompareTo(right) < 0;

    /// <summary>Orders by domain, bus, device, function.</summary>
    public static bool operator >(PciAddress left, PciAddress right) => left.CompareTo(right) > 0;

    /// <summary>Orders by domain, bus, device, function.</summary>
    public static bool operator <=(PciAddress left, PciAddress right) => left.CompareTo(right) <= 0;

    /// <summary>Orders by domain, bus, device, function.</summary>
    public static bool operator >=(PciAddress left, PciAddress right) => left.CompareTo(right) >= 0;

    /// <summary>The kernel's spelling.</summary>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{Domain:x4}:{Bus:x2}:{Device:x2}.{Function:x}");

    private static bool Hex(ReadOnlySpan<char> digits, out uint value) =>
        uint.TryParse(digits, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out value);
}
