using System.Globalization;
using System.Text.RegularExpressions;

namespace VfioCli.Faults;

/// <summary>Fault lines of VT-d as Linux prints them, since 2.6; reasons as in the VT-d specification, 7.1.3 "Fault Reason Encodings".</summary>
internal static partial class VtdFaults
{
    /// <summary>Reads one line; null when it is none of VT-d's.</summary>
    public static FaultRecord? Parse(string line)
    {
        Match match = Line().Match(line);
        if (!match.Success)
        {
            return null;
        }

        string kind = match.Groups["kind"].Value;
        int code = int.Parse(match.Groups["reason"].Value, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);
        bool interrupt = kind.StartsWith("INTR", StringComparison.Ordinal);
        string device = match.Groups["device"].Value;
        (FaultClass Class, string Text) reason = Reason(code);
        return new FaultRecord(
            "VT-d",
            device.Count(static letter => letter == ':') == 1 ? "0000:" + device : device,
            interrupt ? null : kind.Contains("Write", StringComparison.Ordinal) ? "write" : "read",
            interrupt ? null : ulong.Parse(match.Groups["address"].Value, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture),
            match.Groups["pasid"].Success && uint.TryParse(match.Groups["pasid"].Value, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture,
                out uint pasid) && pasid != uint.MaxValue ? pasid : null,
            $"0x{code:x2}",
            reason.Class,
            reason.Text);
    }

    /// <summary>A fault reason's meaning.</summary>
    public static (FaultClass Class, string Text) Reason(int code) => code switch
    {
        0x01 => (FaultClass.DeviceNotConfigured, "the root entry of the bus is not present"),
        0x02 => (FaultClass.DeviceNotConfigured, "the context entry of the device is not present"),
        0x03 => (FaultClass.BrokenTable, "the context entry is invalid"),
        0x04 => (FaultClass.AddressTooWide, "the address is beyond the width of the unit (MGAW)"),
        0x05 => (FaultClass.NotMapped, "the page table allows no write there: not mapped, or mapped without write access"),
        0x06 => (FaultClass.NotMapped, "the page table allows no read there: not mapped, or mapped without read access"),
        0x07 => (FaultClass.BrokenTable, "the next level of the page table cannot be read"),
        0x08 => (FaultClass.BrokenTable, "the root table cannot be read"),
        0x09 => (FaultClass.BrokenTable, "the context table cannot be read"),
        0x0a => (FaultClass.BrokenTable, "reserved bits are set in a root entry"),
        0x0b => (FaultClass.BrokenTable, "reserved bits are set in a context entry"),
        0x0c => (FaultClass.BrokenTable, "reserved bits are set in a page-table entry"),
        0x0d => (FaultClass.TranslationRequest, "the context entry blocks translation requests"),
        0x20 => (FaultClass.Interrupt, "reserved fields are set in an interrupt request"),
        0x21 => (FaultClass.Interrupt, "the interrupt's index is beyond the remapping table"),
        0x22 => (FaultClass.Interrupt, "the interrupt remapping entry is not present"),
        0x23 => (FaultClass.BrokenTable, "the interrupt remapping table cannot be read"),
        0x24 => (FaultClass.BrokenTable, "reserved bits are set in an interrupt remapping entry"),
        0x25 => (FaultClass.Interrupt, "an interrupt in compatibility format was blocked"),
        0x26 => (FaultClass.Interrupt, "the interrupt came from another requester than its entry allows"),
        0x30 => (FaultClass.BrokenTable, "the root table address is invalid (scalable mode)"),
        0x31 => (FaultClass.TranslationRequest, "a request with PASID in a mode without"),
        0x38 or 0x40 or 0x50 or 0x58 => (FaultClass.BrokenTable, "a table of scalable mode cannot be read"),
        0x39 => (FaultClass.DeviceNotConfigured, "the root entry of the bus is not present"),
        0x41 => (FaultClass.DeviceNotConfigured, "the context entry of the device is not present"),
        0x3a or 0x42 or 0x43 or 0x48 or 0x52 or 0x5a or 0x5b or 0x72 or 0x7a or 0x7b =>
            (FaultClass.BrokenTable, "an entry of scalable mode is malformed"),
        0x44 => (FaultClass.TranslationRequest, "translation requests are not enabled in the context entry"),
        0x45 => (FaultClass.DeviceNotConfigured, "requests with PASID are not enabled in the context entry"),
        0x46 => (FaultClass.DeviceNotConfigured, "the PASID is larger than the context entry allows"),
        0x47 => (FaultClass.TranslationRequest, "page requests are not enabled in the context entry"),
        0x51 or 0x59 => (FaultClass.DeviceNotConfigured, "the PASID has no entry"),
        0x70 or 0x73 or 0x78 => (FaultClass.BrokenTable, "a page table cannot be read"),
        0x71 => (FaultClass.NotMapped, "the first-stage table has no entry there"),
        0x74 or 0x80 or 0x83 or 0x84 => (FaultClass.AddressTooWide, "the address is too wide or not canonical"),
        0x75 or 0x76 or 0x77 or 0x79 => (FaultClass.NotMapped, "the second-stage table does not allow it: not mapped, or mapped without the access"),
        0x81 or 0x82 or 0x85 or 0x86 => (FaultClass.NotPermitted, "the first-stage table does not allow it"),
        0x87 => (FaultClass.Interrupt, "the address lies in the interrupt range"),
        _ => (FaultClass.Other, "a reason that is not in this table"),
    };

    [GeneratedRegex(
        @"\[(?<kind>DMA Read|DMA Write|INTR-REMAP)(?: NO_PASID| PASID (?:0x)?(?<pasid>[0-9a-f]+))?\]"
            + @" Request device \[(?<device>[0-9a-f:]+\.[0-7])\](?: PASID (?<pasid>[0-9a-f]+))?"
            + @" fault (?:addr|index) (?:0x)?(?<address>[0-9a-f]+)\s*\[fault reason (?:0x)?(?<reason>[0-9a-f]+)\]",
        RegexOptions.CultureInvariant | RegexOptions.IgnoreCase)]
    private static partial Regex Line();
}
