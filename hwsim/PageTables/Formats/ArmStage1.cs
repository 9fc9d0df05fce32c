namespace IommuFd.HwSim.PageTables;

/// <summary>
/// Arm VMSAv8-64 stage 1 (Arm ARM D8.3; SMMUv3 architecture section 3.4): granules of 4, 16 and 64 KiB, 48-bit addresses or 52 with LPA/LPA2,
/// contiguous hint, hierarchical permissions, dirty state in AP[2] under DBM.
/// </summary>
/// <remarks>
/// Memory types are MAIR indexes, as Linux programs MAIR: 0 not cached, 1 write-back, 2 device. Does not model: permission indirection and overlays,
/// NS and GP bits.
/// </remarks>
public readonly struct ArmStage1 : IPageTableFormat
{
    private const ulong User = 1 << 6, ReadOnly = 1 << 7, NotGlobal = 1 << 11, Pxn = 1UL << 53, Uxn = 1UL << 54;
    private const ulong ApTableNoUser = 1UL << 61, ApTableReadOnly = 1UL << 62, XnTable = 1UL << 60;

    /// <summary>Geometry of a TTB0 or TTB1 region.</summary>
    /// <param name="granuleLg2">12, 14 or 16.</param>
    /// <param name="inputBits">64 - TxSZ.</param>
    /// <param name="outputBits">IPS: up to 48, or 52 with Address52.</param>
    /// <param name="features">Contiguous, Address52, DirtyTracking.</param>
    /// <exception cref="ArgumentOutOfRangeException">A width or granule that does not exist.</exception>
    public static PageTableGeometry Geometry(int granuleLg2, int inputBits, int outputBits = 48,
        PageTableFeatures features = PageTableFeatures.Contiguous) =>
        ArmLpae.Geometry(granuleLg2, inputBits, outputBits, features, 0);

    /// <inheritdoc/>
    public static string Name => "arm-s1";

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
        var leaf = ArmLpae.PlainLeaf(geometry, out mask) | User;
        mask |= User | ((access & PageAttributes.Write) != 0 ? ReadOnly : 0) | ((access & PageAttributes.Execute) != 0 ? Uxn : 0);
        return leaf;
    }

    /// <inheritdoc/>
    public static ulong TableAddress(in PageTableGeometry geometry, ulong entry) => ArmLpae.Address(geometry, entry);

    /// <inheritdoc/>
    public static PageAttributes TableLimits(in PageTableGeometry geometry, ulong entry) =>
        PageAttributes.Read
        | ((entry & ApTableReadOnly) == 0 ? PageAttributes.Write : 0)
        | ((entry & ApTableNoUser) == 0 ? PageAttributes.User : 0)
        | ((entry & XnTable) == 0 ? PageAttributes.Execute : 0);

    /// <inheritdoc/>
    public static int LeafSizeLg2(in PageTableGeometry geometry, int level, ulong entry) => ArmLpae.LeafSizeLg2(geometry, level, entry);

    /// <inheritdoc/>
    public static ulong LeafAddress(in PageTableGeometry geometry, int level, ulong entry) => ArmLpae.Address(geometry, entry);

    /// <inheritdoc/>
    public static PageAttributes Attributes(in PageTableGeometry geometry, int level, ulong entry)
    {
        var tracked = geometry.Has(PageTableFeatures.DirtyTracking) && (entry & ArmLpae.Dbm) != 0;
        return PageAttributes.Read
            | ((entry & ReadOnly) == 0 || tracked ? PageAttributes.Write : 0)
            | ((entry & User) != 0 ? PageAttributes.User : 0)
            | ((entry & Uxn) == 0 ? PageAttributes.Execute : 0)
            | ((entry & NotGlobal) == 0 ? PageAttributes.Global : 0)
            | ((entry & ArmLpae.Af) != 0 ? PageAttributes.Accessed : 0)
            | (tracked ? PageAttributes.DirtyTracked : 0)
            | (tracked && (entry & ReadOnly) == 0 ? PageAttributes.Dirty : 0)
            | ((entry >> 2 & 7) switch { 1 => PageAttributes.Coherent, 2 => PageAttributes.Device, _ => PageAttributes.NonCacheable });
    }

    /// <inheritdoc/>
    public static ulong MakeTable(in PageTableGeometry geometry, int level, ulong address) =>
        ArmLpae.AddressBits(geometry, address) | ArmLpae.Valid | ArmLpae.TableOrPage;

    /// <inheritdoc/>
    public static bool TryEncode(in PageTableGeometry geometry, PageAttributes attributes, out ulong bits)
    {
        var type = (attributes & PageAttributes.Device) != 0 ? 2UL : (attributes & PageAttributes.Coherent) != 0 ? 1UL : 0;
        var writable = (attributes & PageAttributes.Write) != 0;
        var tracked = writable && geometry.Has(PageTableFeatures.DirtyTracking);
        bits = ArmLpae.Valid | (type << 2) | ArmLpae.Af
            | (ArmLpae.HasShareability(geometry) ? (type == 1 ? 3UL : 2UL) << 8 : 0)
            | ((attributes & PageAttributes.User) != 0 ? User : 0)
            | (!writable || (tracked && (attributes & PageAttributes.Dirty) == 0) ? ReadOnly : 0)
            | (tracked ? ArmLpae.Dbm : 0)
            | ((attributes & PageAttributes.Global) == 0 ? NotGlobal : 0)
            | ((attributes & PageAttributes.Execute) == 0 ? Pxn | Uxn : 0);
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
    public static ulong SetDirty(ulong entry) => (entry & ArmLpae.Dbm) != 0 ? (entry | ArmLpae.Af) & ~ReadOnly : entry | ArmLpae.Af;

    /// <inheritdoc/>
    public static ulong ClearDirty(ulong entry) => (entry & ArmLpae.Dbm) != 0 ? entry | ReadOnly : entry;
}
