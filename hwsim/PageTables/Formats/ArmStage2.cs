namespace IommuFd.HwSim.PageTables;

/// <summary>
/// Arm VMSAv8-64 stage 2 (Arm ARM D8.3; SMMUv3 architecture section 3.4): as stage 1, with up to 16 concatenated root tables, separate read and write
/// permission and dirty state in S2AP[1] under DBM.
/// </summary>
/// <remarks>Does not model: forced write-back (FWB) memory attributes, the four execute-never forms apart from "never" and "always".</remarks>
public readonly struct ArmStage2 : IPageTableFormat
{
    private const ulong ReadBit = 1 << 6, WriteBit = 1 << 7, Xn = 1UL << 54;

    /// <summary>Geometry of a stage-2 table.</summary>
    /// <param name="granuleLg2">12, 14 or 16.</param>
    /// <param name="inputBits">64 - S2T0SZ.</param>
    /// <param name="outputBits">S2PS: up to 48, or 52 with Address52.</param>
    /// <param name="features">Contiguous, Address52, DirtyTracking.</param>
    /// <param name="topLevel">Level of the root (from S2SL0); by default the lowest that works, with up to 16 concatenated tables.</param>
    /// <exception cref="ArgumentOutOfRangeException">A width, granule or level that does not exist.</exception>
    public static PageTableGeometry Geometry(
        int granuleLg2, int inputBits, int outputBits = 48, PageTableFeatures features = PageTableFeatures.Contiguous, int topLevel = -1)
    {
        var geometry = ArmLpae.Geometry(granuleLg2, inputBits, outputBits, features, 4);
        if (topLevel < 0)
            return geometry;
        var rootBits = inputBits - ArmLpae.ItemSizeLg2(geometry, topLevel);
        return rootBits >= 1 && rootBits <= granuleLg2 - 3 + 4
            ? geometry with { TopLevel = topLevel }
            : throw new ArgumentOutOfRangeException(nameof(topLevel), "The root would have less than 2 entries or more than 16 tables.");
    }

    /// <inheritdoc/>
    public static string Name => "arm-s2";

    /// <inheritdoc/>
    public static int LevelBits => 0;

    /// <inheritdoc/>
    public static int ItemSizeLg2(in PageTableGeometry geometry, int level) => ArmLpae.ItemSizeLg2(geometry, level);

    /// <inheritdoc/>
    public static ulong LeafSizes(in PageTableGeometry geometry, int level) => ArmLpae.LeafSizes(geometry, level);

    /// <inheritdoc/>
    public static EntryKind KindOf(in PageTableGeometry geometry, int level, ulong entry) => ArmLpae.KindOf(geometry, level, entry);

    /// <inheritdoc/>
    public static ulong PlainTable(in PageTableGeometry geometry, int level, out ulong mask)
    {
        return ArmLpae.PlainTable(geometry, out mask);
    }

    /// <inheritdoc/>
    public static ulong PlainLeaf(in PageTableGeometry geometry, PageAttributes access, out ulong mask)
    {
        var allowed = ((access & PageAttributes.Read) != 0 ? ReadBit : 0) | ((access & PageAttributes.Write) != 0 ? WriteBit : 0);
        var leaf = ArmLpae.PlainLeaf(geometry, out mask) | allowed;
        mask |= allowed | ((access & PageAttributes.Execute) != 0 ? Xn : 0);
        return leaf;
    }

    /// <inheritdoc/>
    public static ulong TableAddress(in PageTableGeometry geometry, ulong entry) => ArmLpae.Address(geometry, entry);

    /// <inheritdoc/>
    public static int LeafSizeLg2(in PageTableGeometry geometry, int level, ulong entry) => ArmLpae.LeafSizeLg2(geometry, level, entry);

    /// <inheritdoc/>
    public static ulong LeafAddress(in PageTableGeometry geometry, int level, ulong entry) => ArmLpae.Address(geometry, entry);

    /// <inheritdoc/>
    public static PageAttributes Attributes(in PageTableGeometry geometry, int level, ulong entry)
    {
        var tracked = geometry.Has(PageTableFeatures.DirtyTracking) && (entry & ArmLpae.Dbm) != 0;
        return PageAttributes.User
            | ((entry & ReadBit) != 0 ? PageAttributes.Read : 0)
            | ((entry & WriteBit) != 0 || tracked ? PageAttributes.Write : 0)
            | ((entry & Xn) == 0 ? PageAttributes.Execute : 0)
            | ((entry & ArmLpae.Af) != 0 ? PageAttributes.Accessed : 0)
            | (tracked ? PageAttributes.DirtyTracked : 0)
            | (tracked && (entry & WriteBit) != 0 ? PageAttributes.Dirty : 0)
            | ((entry >> 2 & 0xF) switch { 0xF => PageAttributes.Coherent, <= 3 => PageAttributes.Device, _ => PageAttributes.NonCacheable });
    }

    /// <inheritdoc/>
    public static ulong MakeTable(in PageTableGeometry geometry, int level, ulong address) =>
        ArmLpae.AddressBits(geometry, address) | ArmLpae.Valid | ArmLpae.TableOrPage;

    /// <inheritdoc/>
    public static bool TryEncode(in PageTableGeometry geometry, PageAttributes attributes, out ulong bits)
    {
        var type = (attributes & PageAttributes.Device) != 0 ? 1UL : (attributes & PageAttributes.Coherent) != 0 ? 0xFUL : 5UL;
        var writable = (attributes & PageAttributes.Write) != 0;
        var tracked = writable && geometry.Has(PageTableFeatures.DirtyTracking);
        bits = ArmLpae.Valid | (type << 2) | ArmLpae.Af
            | (ArmLpae.HasShareability(geometry) ? (type == 0xF ? 3UL : 2UL) << 8 : 0)
            | ((attributes & PageAttributes.Read) != 0 ? ReadBit : 0)
            | (writable && (!tracked || (attributes & PageAttributes.Dirty) != 0) ? WriteBit : 0)
            | (tracked ? ArmLpae.Dbm : 0)
            | ((attributes & PageAttributes.Execute) == 0 ? Xn : 0);
        return (attributes & (PageAttributes.Read | PageAttributes.Write)) != 0;
    }

    /// <inheritdoc/>
    public static ulong MakeLeaf(in PageTableGeometry geometry, int level, int sizeLg2, ulong address, ulong bits) =>
        ArmLpae.MakeLeaf(geometry, level, sizeLg2, address, bits);

    /// <inheritdoc/>
    public static ulong ContiguousStep(ulong itemBytes) => itemBytes;

    /// <inheritdoc/>
    public static bool IsLinear(in PageTableGeometry geometry, ulong first, ulong last) => ArmLpae.IsLinear(geometry, first, last);

    /// <inheritdoc/>
    public static ulong SetAccessed(ulong entry) => entry | ArmLpae.Af;

    /// <inheritdoc/>
    public static ulong SetDirty(ulong entry) => (entry & ArmLpae.Dbm) != 0 ? entry | ArmLpae.Af | WriteBit : entry | ArmLpae.Af;

    /// <inheritdoc/>
    public static ulong ClearDirty(ulong entry) => (entry & ArmLpae.Dbm) != 0 ? entry & ~WriteBit : entry;
}
