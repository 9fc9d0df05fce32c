using System.Globalization;
using System.Text.RegularExpressions;

namespace VfioCli.Faults;

/// <summary>
/// Fault lines of the RISC-V IOMMU as Linux prints them; causes as in the RISC-V IOMMU architecture, "Fault record CAUSE field encodings".
/// </summary>
internal static partial class RiscvFaults
{
    /// <summary>Reads one line; null when it is none of the RISC-V IOMMU's.</summary>
    public static FaultRecord? Parse(string line)
    {
        Match match = Line().Match(line);
        if (!match.Success)
        {
            return null;
        }

        int cause = int.Parse(match.Groups["cause"].Value, CultureInfo.InvariantCulture);
        uint device = uint.Parse(match.Groups["device"].Value, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);
        ulong address = ulong.Parse(match.Groups["address"].Value, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);
        (FaultClass kind, string? access, string reason) = Cause(cause);

        // The device id of a PCI function is its segment and requester id.
        string name =
            $"{device >> 16:x4}:{(device >> 8) & 0xff:x2}:{(device >> 3) & 0x1f:x2}.{device & 7:x} (if a PCI function; device id 0x{device:x})";
        return new FaultRecord("RISC-V", name, access, kind is FaultClass.DeviceNotConfigured or FaultClass.BrokenTable ? null : address, null,
            cause.ToString(CultureInfo.InvariantCulture), kind, reason);
    }

    private static (FaultClass Class, string? Access, string Text) Cause(int cause) => cause switch
    {
        1 => (FaultClass.NotPermitted, "execute", "instruction access fault"),
        4 => (FaultClass.Other, "read", "read address misaligned"),
        5 => (FaultClass.NotPermitted, "read", "read access fault"),
        6 => (FaultClass.Other, "write", "write or atomic address misaligned"),
        7 => (FaultClass.NotPermitted, "write", "write or atomic access fault"),
        12 => (FaultClass.NotMapped, "execute", "first-stage page fault of an instruction fetch"),
        13 => (FaultClass.NotMapped, "read", "first-stage page fault of a read"),
        15 => (FaultClass.NotMapped, "write", "first-stage page fault of a write or atomic"),
        20 => (FaultClass.NotMapped, "execute", "guest page fault of an instruction fetch"),
        21 => (FaultClass.NotMapped, "read", "guest page fault of a read"),
        23 => (FaultClass.NotMapped, "write", "guest page fault of a write or atomic"),
        256 => (FaultClass.DeviceNotConfigured, null, "all inbound transactions are switched off"),
        257 => (FaultClass.BrokenTable, null, "the device directory cannot be read"),
        258 => (FaultClass.DeviceNotConfigured, null, "the device has no valid entry in the device directory"),
        259 => (FaultClass.BrokenTable, null, "the device's entry in the directory is malformed"),
        260 => (FaultClass.TranslationRequest, null, "a transaction type that is not allowed"),
        261 => (FaultClass.BrokenTable, null, "the MSI page table cannot be read"),
        262 => (FaultClass.Interrupt, null, "the MSI page table has no valid entry"),
        263 => (FaultClass.BrokenTable, null, "the MSI page table entry is malformed"),
        264 => (FaultClass.BrokenTable, null, "an MRIF cannot be accessed"),
        265 => (FaultClass.BrokenTable, null, "the process directory cannot be read"),
        266 => (FaultClass.DeviceNotConfigured, null, "the PASID has no valid entry in the process directory"),
        267 => (FaultClass.BrokenTable, null, "the process directory entry is malformed"),
        >= 268 and <= 274 => (FaultClass.BrokenTable, null, "tables are corrupted, or an internal error of the unit"),
        _ => (FaultClass.Other, null, "a cause that is not in this table"),
    };

    [GeneratedRegex(@"Fault (?<cause>\d+) devid: 0x(?<device>[0-9a-f]+) iotval: (?<address>[0-9a-f]+) iotval2: (?<second>[0-9a-f]+)",
        RegexOptions.CultureInvariant)]
    private static partial Regex Line();
}
