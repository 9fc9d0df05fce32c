using System.Globalization;
using IommuFd.Native;
using IommuFd.Sysfs;

namespace VfioCli.Persistence;

/// <summary>
/// A function that shall be on a VFIO driver after every boot, known by its address and by what it is: cards move when others are plugged.
/// </summary>
/// <param name="Address">Where it was.</param>
/// <param name="Driver">The driver it shall have.</param>
/// <param name="Vendor">Vendor id.</param>
/// <param name="Device">Device id.</param>
/// <param name="Subsystem">Subsystem vendor and id, or empty.</param>
/// <param name="Serial">Device Serial Number, or empty.</param>
internal sealed record PersistentDevice(PciAddress Address, string Driver, ushort Vendor, ushort Device, string Subsystem, string Serial)
{
    /// <summary>What the function at an address is now.</summary>
    public static PersistentDevice Of(ISysfs sysfs, PciFunction function, string driver) => new(
        function.Address, driver, function.Vendor, function.Device,
        $"{sysfs.Attribute(function.Path + "/subsystem_vendor")}:{sysfs.Attribute(function.Path + "/subsystem_device")}".Replace("0x", "",
            StringComparison.Ordinal).Trim(':'),
        SerialNumber(sysfs, function.Address));

    /// <summary>
    /// Whether <paramref name="other"/> is the same device, wherever it sits. A serial number that only one side shows (to root) does not count.
    /// </summary>
    public bool IsSameAs(PersistentDevice other) => Vendor == other.Vendor && Device == other.Device && Subsystem == other.Subsystem
        && (Serial.Length == 0 || other.Serial.Length == 0 || Serial == other.Serial);

    /// <summary>The definition's text.</summary>
    public string ToText() => string.Create(CultureInfo.InvariantCulture,
        $"driver={Driver}\nvendor={Vendor:x4}\ndevice={Device:x4}\nsubsystem={Subsystem}\nserial={Serial}\n");

    /// <summary>Reads a definition; null when it is not one.</summary>
    public static PersistentDevice? Parse(string name, string text)
    {
        Dictionary<string, string> fields = text.Split('\n').Select(static line => line.Split('=', 2)).Where(static pair => pair.Length == 2)
            .ToDictionary(static pair => pair[0], static pair => pair[1]);
        return PciAddress.TryParse(name, out PciAddress address)
            && fields.TryGetValue("driver", out string? driver)
            && ushort.TryParse(fields.GetValueOrDefault("vendor"), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ushort vendor)
            && ushort.TryParse(fields.GetValueOrDefault("device"), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ushort device)
            ? new PersistentDevice(address, driver, vendor, device, fields.GetValueOrDefault("subsystem", ""),
                fields.GetValueOrDefault("serial", "")) : null;
    }

    // The Device Serial Number capability, PCI Express Base Specification 7.9.3.
    private static string SerialNumber(ISysfs sysfs, PciAddress address) => PciConfigSpace.Read(sysfs, address) is { } config
        && config.Find(0x03, true) is { } serial
        ? string.Create(CultureInfo.InvariantCulture, $"{config.Long(serial.Offset + 8):x8}{config.Long(serial.Offset + 4):x8}") : "";
}
