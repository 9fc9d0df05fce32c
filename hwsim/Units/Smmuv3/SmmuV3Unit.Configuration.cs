using IommuFd.HwSim.PageTables;

namespace IommuFd.HwSim.Units;

// Stream table entries (section 5.2), context descriptors (5.4), and the rules under which they are valid.
public sealed partial class SmmuV3Unit
{
    private const ulong Stage1Space = 1UL << 32, Stage2Space = 1UL << 33;

    private ulong AddressMask => (1UL << _options.OutputBits) - 1;

    private SmmuFault FindContext(in DmaRequest request, out SmmuContext? context)
    {
        context = null;
        var found = FindEntry(request.RequesterId, out var at);
        if (found.Event != SmmuEvent.None)
            return found;
        Span<ulong> ste = stackalloc ulong[4];
        for (var i = 0; i < 4; i++)
        {
            if (!Memory.Read64(at + ((ulong)i * 8), out ste[i]))
                return new SmmuFault(SmmuEvent.F_STE_FETCH, SmmuClass.Cd, false, at);
        }

        var config = (int)(ste[0] >> 1 & 7);
        if ((ste[0] & 1) == 0)
            return new SmmuFault(SmmuEvent.C_BAD_STE);
        if (config < 4)
        {
            ReadOnlySpan<ulong> words = [request.RequesterId | ((ulong)request.Pasid << 32), 0, 0, 0, 0, 0, 0, 0, 0, 0];
            context = _knownContexts.Find(words)
                ?? _knownContexts.Add(words, new SmmuContext { StreamId = request.RequesterId, Substream = request.Pasid, Abort = true });
            return default;
        }

        var stage1 = (config & 1) != 0;
        var stage2 = (config & 2) != 0;
        if ((stage1 && !_options.Stage1) || (stage2 && !_options.Stage2) || (stage1 && (ste[1] >> 30 & 3) != 0)
            || (stage1 && (ste[1] & 1 << 27) != 0 && !_options.Stall)) // STRW, S1STALLD
            return new SmmuFault(SmmuEvent.C_BAD_STE);
        PageTableGeometry geometry = default;
        if (stage2 && !TryStage2(ste[2], ste[3], out geometry))
            return new SmmuFault(SmmuEvent.C_BAD_STE);

        Span<ulong> cd = stackalloc ulong[4];
        if (stage1)
        {
            var fault = FindDescriptor(request, ste, stage2, geometry, cd, out stage1);
            if (fault.Event != SmmuEvent.None)
                return fault;
        }

        return MakeContext(request, ste, cd, stage1, stage2, geometry, out context);
    }

    // Linear table, or two levels with 2^SPLIT streams per second-level table.
    private SmmuFault FindEntry(ushort streamId, out ulong at)
    {
        var tableBase = Registers[SmmuRegister.STRTAB_BASE] & 0x000F_FFFF_FFFF_FFC0;
        var config = Registers[SmmuRegister.STRTAB_BASE_CFG];
        at = 0;
        if ((ulong)streamId >> (int)Math.Min(config & 63, 32) != 0)
            return new SmmuFault(SmmuEvent.C_BAD_STREAMID);
        if ((config >> 16 & 3) == 0)
        {
            at = tableBase + ((ulong)streamId * 64);
            return default;
        }

        var split = (int)(config >> 6 & 31);
        var first = tableBase + ((ulong)(streamId >> split) * 8);
        if (!Memory.Read64(first, out var descriptor))
            return new SmmuFault(SmmuEvent.F_STE_FETCH, SmmuClass.Cd, false, first);
        var span = (int)(descriptor & 31);
        var index = (ulong)(streamId & ((1 << split) - 1));
        if (span == 0 || span > split + 1 || index >> (span - 1) != 0)
            return new SmmuFault(SmmuEvent.C_BAD_STREAMID);
        at = (descriptor & 0x000F_FFFF_FFFF_FFC0) + (index * 64);
        return default;
    }

    private bool TryStage2(ulong word2, ulong word3, out PageTableGeometry geometry)
    {
        geometry = default;
        var granule = (int)(word2 >> 46 & 3) switch { 0 => 12, 1 => 16, 2 => 14, _ => 0 };
        var inputBits = 64 - (int)(word2 >> 32 & 63);
        var sl0 = (int)(word2 >> 38 & 3);
        var outputBits = Math.Min(_options.OutputBits, OutputBits((int)(word2 >> 48 & 7)));
        if (!HasGranule(granule) || (word2 & 1UL << 51) == 0 || (word2 & 1UL << 52) != 0 || inputBits is < 25 or > 48 || sl0 == 3)
            return false;
        if (((word2 & 3UL << 55) != 0 && !_options.HardwareAccessedDirty) || ((word2 & 1UL << 57) != 0 && !_options.Stall))
            return false;
        // The root's level: 4 KiB granules start at level 2 - SL0 of the architecture, others at 3 - SL0.
        var top = granule == 12 ? sl0 + 1 : sl0;
        var rootBits = inputBits - (granule + ((granule - 3) * top));
        // Its size: at least what one entry cannot map, at most sixteen concatenated tables.
        if (rootBits < 1 || rootBits > granule - 3 + 4 || inputBits > Math.Max(40, _options.OutputBits))
            return false;
        geometry = ArmStage2.Geometry(granule, inputBits, outputBits,
            PageTableFeatures.Contiguous | ((word2 & 1UL << 55) != 0 ? PageTableFeatures.DirtyTracking : 0), top);
        return (word3 & 0x000F_FFFF_FFFF_FFF0 & ~AddressMask) == 0;
    }

    private bool HasGranule(int granule) => granule != 0 && (_options.Granules >> ((granule - 12) / 2) & 1) != 0;

    private static int OutputBits(int code) => code switch { 0 => 32, 1 => 36, 2 => 40, 3 => 42, 4 => 44, _ => 48 };

    private SmmuFault FindDescriptor(
        in DmaRequest request, ReadOnlySpan<ulong> ste, bool stage2, in PageTableGeometry geometry, Span<ulong> cd, out bool stage1)
    {
        stage1 = true;
        var max = (int)(ste[0] >> 59);
        var hasSubstream = request.Pasid != DmaRequest.NoPasid;
        if (max > _options.SubstreamBits)
            return new SmmuFault(SmmuEvent.C_BAD_STE);
        uint substream = 0;
        if (hasSubstream)
        {
            if (max == 0 || request.Pasid >> max != 0 || ((ste[1] & 3) == 2 && request.Pasid == 0))
                return new SmmuFault(SmmuEvent.C_BAD_SUBSTREAMID);
            substream = request.Pasid;
        }
        else if (max != 0)
        {
            switch ((int)(ste[1] & 3)) // S1DSS
            {
                case 0:
                    return new SmmuFault(SmmuEvent.F_STREAM_DISABLED);
                case 1:
                    stage1 = false;
                    return default;
                case 2:
                    break;
                default:
                    return new SmmuFault(SmmuEvent.C_BAD_STE);
            }
        }

        var pointer = ste[0] & 0x00FF_FFFF_FFFF_FFC0;
        var format = (int)(ste[0] >> 4 & 3);
        var at = pointer + (substream * 64UL);
        if (max != 0 && format != 0)
        {
            if (format == 3)
                return new SmmuFault(SmmuEvent.C_BAD_STE);
            var leafBits = format == 1 ? 6 : 10;
            var first = pointer + ((substream >> leafBits) * 8UL);
            var fault = ReadStage1Word(request, first, ste, stage2, geometry, out var descriptor);
            if (fault.Event != SmmuEvent.None)
                return fault;
            if ((descriptor & 1) == 0)
                return new SmmuFault(SmmuEvent.C_BAD_SUBSTREAMID);
            at = (descriptor & 0x000F_FFFF_FFFF_F000) + ((substream & ((1u << leafBits) - 1)) * 64UL);
        }

        for (var i = 0; i < 4; i++)
        {
            var fault = ReadStage1Word(request, at + ((ulong)i * 8), ste, stage2, geometry, out cd[i]);
            if (fault.Event != SmmuEvent.None)
                return fault;
        }

        return IsBadDescriptor(cd) ? new SmmuFault(SmmuEvent.C_BAD_CD) : default;
    }

    // With stage 2 the descriptors are at intermediate addresses.
    private SmmuFault ReadStage1Word(
        in DmaRequest request, ulong address, ReadOnlySpan<ulong> ste, bool stage2, in PageTableGeometry geometry, out ulong word)
    {
        word = 0;
        var physical = address;
        if (stage2)
        {
            var reader = new DirectTableReader(Memory);
            var rules = Stage2Rules(ste[2]);
            if (!TableWalk.Walk<ArmStage2, DirectTableReader>(geometry, Root(ste[3], geometry), ref reader, address,
                WalkAccess.Read | rules, out var second))
                return Stage2Fault(second, SmmuClass.Cd, address);
            physical = second.Output;
        }

        return Memory.Read64(physical, out word) ? default : new SmmuFault(SmmuEvent.F_CD_FETCH, SmmuClass.Cd, false, physical);
    }

    // Section 5.4.1 "CD notes" and the ILLEGAL conditions of each field.
    private bool IsBadDescriptor(ReadOnlySpan<ulong> cd)
    {
        var word = cd[0];
        var stall = (word & 1UL << 44) != 0;
        return (word & 1UL << 31) == 0                                      // V
            || (word & 1UL << 41) == 0                                      // AA64
            || (word & 1UL << 15) != 0                                      // ENDI
            || ((word & 3UL << 42) != 0 && !_options.HardwareAccessedDirty) // HA, HD
            || (stall && !_options.Stall)
            || (!stall && (word & 1UL << 46) == 0)                          // A: without stalls and TERM_MODEL = 1 only abort is possible
            || !TryRegion(word, 0, cd[1], stage2: true, out _)
            || !TryRegion(word, 1, cd[2], stage2: true, out _);
    }

    private bool TryRegion(ulong word, int number, ulong ttb, bool stage2, out SmmuRegion region)
    {
        region = default;
        var shift = 16 * number;
        if ((word >> (14 + shift) & 1) != 0) // EPDn
            return true;
        var tg = (int)(word >> (6 + shift) & 3);
        var granule = number == 0 ? tg switch { 0 => 12, 1 => 16, 2 => 14, _ => 0 } : tg switch { 1 => 14, 2 => 12, 3 => 16, _ => 0 };
        var inputBits = 64 - (int)(word >> shift & 63);
        if (!HasGranule(granule) || inputBits is < 25 or > 48)
            return false;
        var root = ttb & 0x000F_FFFF_FFFF_FFF0;
        var outputBits = Math.Min(_options.OutputBits, OutputBits((int)(word >> 32 & 7)));
        if (root >> outputBits != 0)
            return false;
        var geometry = ArmStage1.Geometry(
            granule, inputBits, outputBits, PageTableFeatures.Contiguous | ((word & 1UL << 42) != 0 ? PageTableFeatures.DirtyTracking : 0));
        region = new SmmuRegion(
            stage2 ? DirectTable.Nested<ArmStage1>(Memory, geometry, Root(root, geometry), Stage1Rules(word))
                : DirectTable.Of<ArmStage1>(Memory, geometry, Root(root, geometry), Stage1Rules(word)),
            (word >> (38 + number) & 1) != 0,
            (ttb & 2) == 0);
        return true;
    }

    // The base of a table is aligned to the table's size: lower bits are treated as zero (S2TTB, TTB0, TTB1).
    private static ulong Root(ulong word, in PageTableGeometry geometry) =>
        word & 0x000F_FFFF_FFFF_FFF0 & ~((1UL << (geometry.InputBits - ArmLpae.ItemSizeLg2(geometry, geometry.TopLevel) + 3)) - 1);

    private static WalkAccess Stage1Rules(ulong word) =>
        (word & 1UL << 43) != 0 ? WalkAccess.UpdateAccessedDirty : (word & 1UL << 35) != 0 ? 0 : WalkAccess.FaultOnClearAccessed;

    private static WalkAccess Stage2Rules(ulong word2) =>
        (word2 & 1UL << 56) != 0 ? WalkAccess.UpdateAccessedDirty : (word2 & 1UL << 53) != 0 ? 0 : WalkAccess.FaultOnClearAccessed;

    private SmmuFault MakeContext(
        in DmaRequest request, ReadOnlySpan<ulong> ste, ReadOnlySpan<ulong> cd, bool stage1, bool stage2, in PageTableGeometry geometry,
        out SmmuContext? context)
    {
        ReadOnlySpan<ulong> words =
            [request.RequesterId | ((ulong)request.Pasid << 32), ste[0], ste[1], ste[2], ste[3], cd[0], cd[1], cd[2], cd[3], stage1 ? 1UL : 0];
        context = _knownContexts.Find(words);
        if (context != null)
            return default;
        SmmuRegion low = default, high = default;
        if (stage1)
        {
            TryRegion(cd[0], 0, cd[1], stage2, out low);
            TryRegion(cd[0], 1, cd[2], stage2, out high);
        }

        context = _knownContexts.Add(words, new SmmuContext
        {
            StreamId = request.RequesterId,
            Substream = request.Pasid,
            Stage1 = stage1,
            Stage2 = stage2,
            Ats = (int)(ste[1] >> 28 & 3),
            Privilege = (int)(ste[1] >> 48 & 3),
            Region0 = low,
            Region1 = high,
            Stage1Rules = Stage1Rules(cd[0]),
            Stage1Stalls = (cd[0] & 1UL << 44) != 0 && (ste[1] & 1 << 27) == 0,
            Stage1Records = !stage1 || (cd[0] & 1UL << 45) != 0,
            Stage2Table = stage2 ? DirectTable.Of<ArmStage2>(Memory, geometry, Root(ste[3], geometry), Stage2Rules(ste[2])) : default,
            Stage2Rules = Stage2Rules(ste[2]),
            Stage2Stalls = (ste[2] & 1UL << 57) != 0,
            Stage2Records = (ste[2] & 1UL << 58) != 0,
            Space = (stage1 ? cd[0] >> 48 | Stage1Space : 0) | (stage2 ? (ste[2] & 0xFFFF) << 16 | Stage2Space : 0),
        });
        return default;
    }
}
