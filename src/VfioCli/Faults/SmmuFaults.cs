using System.Globalization;
using System.Text.RegularExpressions;

namespace VfioCli.Faults;

/// <summary>
/// Event lines of SMMUv3 as Linux prints them: since 6.14 named and decoded, before that an id and four raw doublewords. Events as in the Arm SMMUv3
/// architecture, 7.3.
/// </summary>
internal sealed partial class SmmuFaults
{
    private int _event = -1, _count;
    private readonly ulong[] _raw = new ulong[4];
    private FaultRecord? _named;

    /// <summary>Reads one line; null while an event is incomplete, and for lines that are none of SMMUv3's.</summary>
    public FaultRecord? Next(string line)
    {
        if (Named().Match(line) is { Success: true } named)
        {
            string name = named.Groups["name"].Value;
            (FaultClass kind, string reason) = Reason(name);
            string client = named.Groups["client"].Value;
            _named = new FaultRecord(
                "SMMUv3", client == "(unassigned sid)" ? $"stream 0x{named.Groups["sid"].Value}" : client, null,
                named.Groups["iova"].Success ? Hex(named.Groups["iova"].Value) : null,
                Hex(named.Groups["ssid"].Value) is var ssid and not 0 ? (uint)ssid : null, name, kind, reason);
            return named.Groups["iova"].Success ? null : Take();
        }

        if (_named is not null && Access().Match(line) is { Success: true } access)
        {
            _named = _named with { Access = access.Groups["access"].Value };
            return Take();
        }

        if (Event().Match(line) is { Success: true } start)
        {
            _event = (int)Hex(start.Groups["id"].Value);
            _count = 0;
            return null;
        }

        if (_event >= 0 && Word().Match(line) is { Success: true } word)
        {
            _raw[_count++] = Hex(word.Groups["word"].Value);
            return _count == 4 ? FromRaw() : null;
        }

        return null;
    }

    /// <summary>An event whose last line never came.</summary>
    public FaultRecord? Take()
    {
        FaultRecord? record = _named;
        _named = null;
        return record;
    }

    // Doubleword 0: id, SSV (bit 11), SubstreamID (31:12), StreamID (63:32); doubleword 1: PnU (33), InD (34), RnW (35), S2 (39); doubleword 2: input
    // address.
    private FaultRecord FromRaw()
    {
        string name = Name(_event);
        _event = -1;
        (FaultClass kind, string reason) = Reason(name);
        bool hasAddress = name is "F_TRANSLATION" or "F_ADDR_SIZE" or "F_ACCESS" or "F_PERMISSION";
        return new FaultRecord(
            "SMMUv3",
            $"stream 0x{_raw[0] >> 32:x}",
            !hasAddress ? null : ((_raw[1] >> 34) & 1) != 0 ? "execute" : ((_raw[1] >> 35) & 1) != 0 ? "read" : "write",
            hasAddress ? _raw[2] : null,
            ((_raw[0] >> 11) & 1) != 0 ? (uint)((_raw[0] >> 12) & 0xfffff) : null,
            name,
            kind,
            reason);
    }

    private static string Name(int id) => id switch
    {
        0x01 => "F_UUT", 0x02 => "C_BAD_STREAMID", 0x03 => "F_STE_FETCH", 0x04 => "C_BAD_STE", 0x05 => "F_BAD_ATS_TREQ", 0x06 => "F_STREAM_DISABLED",
        0x07 => "F_TRANSL_FORBIDDEN", 0x08 => "C_BAD_SUBSTREAMID", 0x09 => "F_CD_FETCH", 0x0a => "C_BAD_CD", 0x0b => "F_WALK_EABT",
        0x10 => "F_TRANSLATION",
        0x11 => "F_ADDR_SIZE", 0x12 => "F_ACCESS", 0x13 => "F_PERMISSION", 0x20 => "F_TLB_CONFLICT", 0x21 => "F_CFG_CONFLICT",
        0x24 => "E_PAGE_REQUEST", 0x25 => "F_VMS_FETCH",
        _ => $"event 0x{id:x2}",
    };

    private static (FaultClass Class, string Text) Reason(string name) => name switch
    {
        "F_TRANSLATION" => (FaultClass.NotMapped, "the page table has no entry there"),
        "F_ADDR_SIZE" => (FaultClass.AddressTooWide, "an address is beyond the size of the table's stage"),
        "F_ACCESS" => (FaultClass.NotPermitted, "the entry's access flag is clear"),
        "F_PERMISSION" => (FaultClass.NotPermitted, "the entry does not allow it"),
        "C_BAD_STREAMID" => (FaultClass.DeviceNotConfigured, "the stream id is outside the stream table"),
        "F_STREAM_DISABLED" => (FaultClass.DeviceNotConfigured, "the stream is switched off for requests without a substream"),
        "C_BAD_SUBSTREAMID" => (FaultClass.DeviceNotConfigured, "the substream (PASID) is outside the stream's table"),
        "C_BAD_STE" => (FaultClass.BrokenTable, "the stream table entry is malformed or not valid"),
        "C_BAD_CD" => (FaultClass.BrokenTable, "the context descriptor is malformed or not valid"),
        "F_STE_FETCH" or "F_CD_FETCH" or "F_VMS_FETCH" or "F_WALK_EABT" => (FaultClass.BrokenTable, "a table cannot be read"),
        "F_TLB_CONFLICT" or "F_CFG_CONFLICT" => (FaultClass.BrokenTable, "caches hold contradicting entries: an invalidation is missing"),
        "F_BAD_ATS_TREQ" or "F_TRANSL_FORBIDDEN" or "E_PAGE_REQUEST" =>
            (FaultClass.TranslationRequest, "a translated request or a translation request that is not allowed"),
        _ => (FaultClass.Other, "an event that is not in this table"),
    };

    private static ulong Hex(string text) => ulong.TryParse(text, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ulong value)
        ? value
        : 0;

    [GeneratedRegex(
        @"event: (?<name>[A-Z_]+) client: (?<client>\(unassigned sid\)|\S+) sid: (?:0x)?(?<sid>[0-9a-f]+)"
            + @" ssid: (?:0x)?(?<ssid>[0-9a-f]+)(?: iova: (?:0x)?(?<iova>[0-9a-f]+))?",
        RegexOptions.CultureInvariant)]
    private static partial Regex Named();

    [GeneratedRegex(@"\b(?:priv|unpriv) (?:data|inst) (?<access>read|write)\b", RegexOptions.CultureInvariant)]
    private static partial Regex Access();

    [GeneratedRegex(@"arm-smmu-v3[^:]*: event 0x(?<id>[0-9a-f]+) received", RegexOptions.CultureInvariant)]
    private static partial Regex Event();

    [GeneratedRegex(@"arm-smmu-v3[^:]*:\s+0x(?<word>[0-9a-f]{16})\s*$", RegexOptions.CultureInvariant)]
    private static partial Regex Word();
}
