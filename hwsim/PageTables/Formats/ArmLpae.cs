namespace IommuFd.HwSim.PageTables;

/// <summary>What both stages of the Arm VMSAv8-64 translation tables have in common (Arm ARM, chapter D8): levels, sizes, addresses.</summary>
/// <remarks>Level 0 here is the architecture's level 3.</remarks>
internal static class ArmLpae
{
    internal const ulong Valid = 1, TableOrPage = 2, Sh = 3 << 8, Af = 1 << 10, Dbm = 1UL << 51, Contiguous = 1UL << 52;

    internal static int ItemSizeLg2(in PageTableGeometry geometry, int level) => geometry.GranuleLg2 + ((geometry.GranuleLg2 - 3) * level);

    // Entries that one contiguous page has, log2; 0 where there is none (table D8-101: contiguous bit).
    private static int ContiguousLg2(int granuleLg2, int level) => (granuleLg2, level) switch
    {
        (12, <= 2) => 4,
        (14, 0) => 7,
        (14, 1) => 5,
        (16, <= 1) => 5,
        _ => 0,
    };

    // The highest level that may hold blocks; one more with 52-bit addresses.
    private static int MaxBlockLevel(in PageTableGeometry geometry) => (geometry.GranuleLg2 == 12 ? 2 : 1)
        + (geometry.Has(PageTableFeatures.Address52) ? 1 : 0);

    internal static ulong LeafSizes(in PageTableGeometry geometry, int level)
    {
        if (level > MaxBlockLevel(geometry))
            return 0;
        var item = ItemSizeLg2(geometry, level);
        var contiguous = geometry.Has(PageTableFeatures.Contiguous) ? ContiguousLg2(geometry.GranuleLg2, level) : 0;
        return (1UL << item) | (contiguous == 0 ? 0 : 1UL << (item + contiguous));
    }

    // A reserved encoding is an invalid descriptor: a translation fault, as an empty one.
    internal static EntryKind KindOf(in PageTableGeometry geometry, int level, ulong entry)
    {
        if ((entry & Valid) == 0)
            return EntryKind.Empty;
        if (level == 0)
            return (entry & TableOrPage) != 0 ? EntryKind.Leaf : EntryKind.Empty;
        if ((entry & TableOrPage) != 0)
            return EntryKind.Table;
        return level <= MaxBlockLevel(geometry) ? EntryKind.Leaf : EntryKind.Empty;
    }

    internal static int LeafSizeLg2(in PageTableGeometry geometry, int level, ulong entry) =>
        ItemSizeLg2(geometry, level) + ((entry & Contiguous) != 0 ? ContiguousLg2(geometry.GranuleLg2, level) : 0);

    internal static ulong Address(in PageTableGeometry geometry, ulong entry)
    {
        var granule = geometry.GranuleLg2;
        if (!geometry.Has(PageTableFeatures.Address52))
            return entry & ((1UL << 48) - (1UL << granule));
        // LPA (64 KiB): bits 51:48 are in 15:12. LPA2 (4 and 16 KiB): bits 51:50 are in 9:8, where the shareability was.
        return granule == 16
            ? (entry & ((1UL << 48) - (1UL << 16))) | ((entry >> 12 & 0xF) << 48)
            : (entry & ((1UL << 50) - (1UL << granule))) | ((entry >> 8 & 3) << 50);
    }

    internal static ulong AddressBits(in PageTableGeometry geometry, ulong address)
    {
        if (!geometry.Has(PageTableFeatures.Address52))
            return address;
        return geometry.GranuleLg2 == 16
            ? (address & ((1UL << 48) - 1)) | ((address >> 48 & 0xF) << 12)
            : (address & ((1UL << 50) - 1)) | ((address >> 50 & 3) << 8);
    }

    // Bits 63:59 limit what is below in stage 1; address bits above 47 are folded in with 52-bit addresses, and not looked at here.
    internal static ulong PlainTable(in PageTableGeometry geometry, out ulong mask)
    {
        var folded = geometry.GranuleLg2 == 16 ? 0xF000UL : 0x300UL;
        mask = Valid | TableOrPage | (0x1FUL << 59)
            | (geometry.Has(PageTableFeatures.Address52) ? folded : (1UL << 48) - (1UL << Math.Min(geometry.OutputBits, 48)));
        return Valid | TableOrPage;
    }

    internal static ulong PlainLeaf(in PageTableGeometry geometry, out ulong mask)
    {
        PlainTable(geometry, out mask);
        mask = (mask & ~(0x1FUL << 59)) | Contiguous;
        return Valid | TableOrPage;
    }

    internal static ulong MakeLeaf(in PageTableGeometry geometry, int level, int sizeLg2, ulong address, ulong bits) =>
        AddressBits(geometry, address) | bits | (level == 0 ? TableOrPage : 0) | (sizeLg2 != ItemSizeLg2(geometry, level) ? Contiguous : 0);

    internal static bool IsLinear(in PageTableGeometry geometry, ulong first, ulong last) =>
        !geometry.Has(PageTableFeatures.Address52) || (first ^ last) >> (geometry.GranuleLg2 == 16 ? 48 : 50) == 0;

    internal static bool HasShareability(in PageTableGeometry geometry) => geometry.GranuleLg2 == 16 || !geometry.Has(PageTableFeatures.Address52);

    internal static PageTableGeometry Geometry(int granuleLg2, int inputBits, int outputBits, PageTableFeatures features, int rootExtraBits)
    {
        if (granuleLg2 is not (12 or 14 or 16))
            throw new ArgumentOutOfRangeException(nameof(granuleLg2), "Arm granules are 4 KiB (12), 16 KiB (14) and 64 KiB (16).");
        var wide = features.HasFlag(PageTableFeatures.Address52);
        if (inputBits < 16 || inputBits > (wide ? 52 : 48) || outputBits > (wide ? 52 : 48))
            throw new ArgumentOutOfRangeException(nameof(inputBits), "Arm addresses have 16 to 48 bits, or 52 with Address52.");
        var geometry = new PageTableGeometry { InputBits = inputBits, OutputBits = outputBits, GranuleLg2 = granuleLg2,
            PageSizes = 0 - (1UL << granuleLg2), Features = features };
        // The lowest root level whose table, or run of concatenated tables, holds all addresses.
        var top = 0;
        while (ItemSizeLg2(geometry, top + 1) + rootExtraBits < inputBits)
            top++;
        return geometry with { TopLevel = top };
    }
}
