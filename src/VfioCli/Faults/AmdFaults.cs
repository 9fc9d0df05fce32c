using System.Globalization;
using System.Text.RegularExpressions;

namespace VfioCli.Faults;

/// <summary>
/// Event lines of AMD-Vi as Linux prints them; flags as in the AMD I/O Virtualization Technology Specification, 2.5 "IOMMU Event Reporting".
/// </summary>
internal static partial class AmdFaults
{
    /// <summary>Reads one line; null when it is none of AMD-Vi's.</summary>
    public static FaultRecord? Parse(string line)
    {
        Match match = Line().Match(line);
        if (!match.Success)
        {
            return null;
        }

        string name = match.Groups["name"].Value, fields = match.Groups["fields"].Value;

        // A device that Linux knows is named in front of the line, another one inside.
        string? device = Field(fields, "device") ?? (Front().Match(line) is { Success: true } front ? front.Groups["device"].Value : null);
        ulong? address = Number(Field(fields, "address"));
        uint flags = (uint)(Number(Field(fields, "flags")) ?? 0);
        (FaultClass kind, string reason) = Reason(name, flags);
        return new FaultRecord(
            "AMD-Vi",
            device is not null && device.Count(static letter => letter == ':') == 1 ? "0000:" + device : device,
            name == "IO_PAGE_FAULT"
                ? (flags & Interrupt) != 0 ? null
                : (flags & Write) != 0 ? "write"
                : (flags & Execute) != 0 ? "execute"
                : "read"
                : null,
            address,
            (uint?)Number(Field(fields, "pasid")) is { } pasid && pasid != 0 ? pasid : null,
            $"{name} flags=0x{flags:x4}",
            kind,
            reason);
    }

    // IO_PAGE_FAULT flags, bits 16.. of the second doubleword: guest, no execute, user, interrupt, present, read/write, privilege, reserved bit,
    // translation request.
    private const uint Guest = 1 << 0, Execute = 1 << 1, Interrupt = 1 << 3, Present = 1 << 4, Write = 1 << 5, Privilege = 1 << 6,
        Reserved = 1 << 7, Translation = 1 << 8;

    private static (FaultClass Class, string Text) Reason(string name, uint flags) => name switch
    {
        "IO_PAGE_FAULT"
            when (flags & Interrupt) != 0 => (FaultClass.Interrupt,
                (flags & Present) != 0 ? "the interrupt is refused by its remapping entry" : "the interrupt has no remapping entry"),
        "IO_PAGE_FAULT" when (flags & Reserved) != 0 => (FaultClass.BrokenTable, "reserved bits are set in an entry"),
        "IO_PAGE_FAULT" when (flags & Privilege) != 0 => (FaultClass.NotPermitted, "the entry does not allow it"),
        "IO_PAGE_FAULT" when (flags & Present) == 0 =>
            (FaultClass.NotMapped, (flags & Guest) != 0 ? "the guest's table has no entry there" : "the page table has no entry there"),
        "IO_PAGE_FAULT" when (flags & Translation) != 0 => (FaultClass.TranslationRequest, "a translation request failed"),
        "IO_PAGE_FAULT" => (FaultClass.NotPermitted, "the entry is there and does not allow it"),
        "ILLEGAL_DEV_TABLE_ENTRY" => (FaultClass.BrokenTable, "the device table entry is malformed"),
        "DEV_TAB_HARDWARE_ERROR" => (FaultClass.BrokenTable, "the device table cannot be read"),
        "PAGE_TAB_HARDWARE_ERROR" => (FaultClass.BrokenTable, "a page table cannot be read"),
        "ILLEGAL_COMMAND_ERROR" => (FaultClass.BrokenTable, "the command buffer holds a malformed command"),
        "COMMAND_HARDWARE_ERROR" => (FaultClass.BrokenTable, "the command buffer cannot be read"),
        "IOTLB_INV_TIMEOUT" => (FaultClass.TranslationRequest, "the device did not answer an invalidation of its translation cache"),
        "INVALID_DEVICE_REQUEST" => (FaultClass.TranslationRequest, "the device sent a request that it may not send"),
        "INVALID_PPR_REQUEST" => (FaultClass.TranslationRequest, "the device sent a malformed page request"),
        "RMP_PAGE_FAULT" or "RMP_HW_ERROR" => (FaultClass.NotPermitted, "the memory belongs to a confidential guest"),
        _ => (FaultClass.Other, "an event that is not in this table"),
    };

    private static string? Field(string fields, string name)
    {
        foreach (string word in fields.Split([' ', ','], StringSplitOptions.RemoveEmptyEntries))
        {
            if (word.StartsWith(name + "=", StringComparison.Ordinal))
            {
                return word[(name.Length + 1)..];
            }
        }

        return null;
    }

    private static ulong? Number(string? text) => text is null ? null
        : ulong.TryParse(text.StartsWith("0x", StringComparison.Ordinal) ? text[2..] : text, NumberStyles.AllowHexSpecifier,
            CultureInfo.InvariantCulture, out ulong value) ? value : null;

    [GeneratedRegex(@"Event logged \[(?<name>[A-Z_]+)(?<fields>[^\]]*)\]", RegexOptions.CultureInvariant)]
    private static partial Regex Line();

    [GeneratedRegex(@"(?<device>[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]): (?:AMD-Vi: )?Event logged", RegexOptions.CultureInvariant)]
    private static partial Regex Front();
}
