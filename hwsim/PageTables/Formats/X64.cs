namespace IommuFd.HwSim.PageTables;

/// <summary>
/// x86-64 paging with 4 or 5 levels (Intel SDM volume 3 chapter 4, AMD APM volume 2 chapter 5). VT-d uses it as first-stage translation (data book
/// section 3.6) and AMD-Vi as host page tables of version 2 (specification section 2.2.4, through GCR3).
/// </summary>
/// <remarks>Does not model: protection keys, the PAT index (entries are made with index 0), VT-d's extended-accessed bit.</remarks>
public readonly struct X64 : IPageTableFormat
{
    private const ulong P = 1, Rw = 2, Us = 4, Pcd = 1 << 4, A = 1 << 5, D = 1 << 6, Ps = 1 << 7, G = 1 << 8, Xd = 1UL << 63;
    private const ulong Address = 0x000F_FFFF_FFFF_F000;
    private const ulong LargePat = 1 << 12;

    /// <summary>Geometry for an address width.</summary>
    /// <param name="width">48 or 57 for canonical addresses; 47 or 56 for the lower half alone.</param>
    /// <param name="outputBits">Physical address width, up to 52.</param>
    /// <param name="features">DirtyTracking.</param>
    /// <param name="pageSizes">4 KiB, 2 MiB and, where offered, 1 GiB.</param>
    /// <exception cref="ArgumentOutOfRangeException">Another width.</exception>
    public static PageTableGeometry Geometry(int width, int outputBits = 52, PageTableFeatures features = default, ulong pageSizes = 0x4020_1000) =>
        new()
    {
        TopLevel = width switch { 47 or 48 => 3, 56 or 57 => 4,
            _ => throw new ArgumentOutOfRangeException(nameof(width), "x86-64 paging has 47, 48, 56 or 57 bits.") },
        InputBits = width,
        OutputBits = outputBits,
        GranuleLg2 = 12,
        PageSizes = pageSizes,
        Features = features | (width is 48 or 57 ? PageTableFeatures.SignExtend : 0),
    };

    /// <inheritdoc/>
    public static string Name => "x86-64";

    /// <inheritdoc/>
    public static bool AccessedInTables => true;

    /// <inheritdoc/>
    public static bool HasSignedAddresses => true;

    /// <inheritdoc/>
    public static int ItemSizeLg2(in PageTableGeometry geometry, int level) => 12 + (9 * level);

    /// <inheritdoc/>
    public static ulong LeafSizes(in PageTableGeometry geometry, int level) => level <= 2 ? 1UL << (12 + (9 * level)) : 0;

    /// <inheritdoc/>
    public static EntryKind KindOf(in PageTableGeometry geometry, int level, ulong entry)
    {
        if ((entry & P) == 0)
            return EntryKind.Empty;
        return level == 0 || ((entry & Ps) != 0 && level <= 2) ? EntryKind.Leaf : EntryKind.Table;
    }

    /// <inheritdoc/>
    public static ulong ReservedBits(in PageTableGeometry geometry, int level, ulong entry)
    {
        if (level == 0 || (entry & Ps) == 0)
            return 0;
        return level > 2 || (geometry.PageSizes & LeafSizes(geometry, level)) == 0 ? Ps : 0;
    }

    /// <inheritdoc/>
    public static ulong PlainTable(in PageTableGeometry geometry, int level, out ulong mask)
    {
        mask = P | Rw | Us | Ps | Xd | (Address & ~((1UL << geometry.OutputBits) - 1));
        return P | Rw | Us;
    }

    /// <inheritdoc/>
    public static ulong PlainLeaf(in PageTableGeometry geometry, PageAttributes access, out ulong mask)
    {
        var allowed = P | Us | ((access & PageAttributes.Write) != 0 ? Rw : 0);
        mask = allowed | ((access & PageAttributes.Execute) != 0 ? Xd : 0) | (Address & ~((1UL << geometry.OutputBits) - 1));
        return allowed;
    }

    /// <inheritdoc/>
    public static ulong TableAddress(in PageTableGeometry geometry, ulong entry) => entry & Address;

    /// <inheritdoc/>
    public static PageAttributes TableLimits(in PageTableGeometry geometry, ulong entry) => Access(entry);

    /// <inheritdoc/>
    public static int LeafSizeLg2(in PageTableGeometry geometry, int level, ulong entry) => 12 + (9 * level);

    /// <inheritdoc/>
    public static ulong LeafAddress(in PageTableGeometry geometry, int level, ulong entry) => entry & Address & ~(level != 0 ? LargePat : 0);

    /// <inheritdoc/>
    public static PageAttributes Attributes(in PageTableGeometry geometry, int level, ulong entry) =>
        // PCD is bit 4, A and D are bits 5 and 6, G is bit 8: shifted to where PageAttributes has them.
        Access(entry)
        | (PageAttributes)(entry >> 4 & (ulong)PageAttributes.Global)
        | (PageAttributes)(entry << 1 & (ulong)(PageAttributes.NonCacheable | PageAttributes.Accessed | PageAttributes.Dirty));

    /// <inheritdoc/>
    // A as Linux sets it: hardware then has nothing to write
    public static ulong MakeTable(in PageTableGeometry geometry, int level, ulong address) => address | P | Rw | Us | A;

    /// <inheritdoc/>
    public static bool TryEncode(in PageTableGeometry geometry, PageAttributes attributes, out ulong bits)
    {
        // What is present can be read: a page for writes alone is not expressible and can be read too.
        bits = P
            | ((attributes & PageAttributes.Write) != 0 ? Rw : 0)
            | ((attributes & PageAttributes.User) != 0 ? Us : 0)
            | ((attributes & PageAttributes.NonCacheable) != 0 ? Pcd : 0)
            | ((attributes & PageAttributes.Global) != 0 ? G : 0)
            | ((attributes & PageAttributes.Accessed) != 0 ? A : 0)
            | ((attributes & PageAttributes.Dirty) != 0 ? D : 0)
            | ((attributes & PageAttributes.Execute) == 0 ? Xd : 0);
        return (attributes & (PageAttributes.Read | PageAttributes.Write)) != 0;
    }

    /// <inheritdoc/>
    public static ulong MakeLeaf(in PageTableGeometry geometry, int level, int sizeLg2, ulong address, ulong bits) =>
        address | bits | (level != 0 ? Ps : 0);

    /// <inheritdoc/>
    public static ulong SetAccessed(ulong entry) => entry | A;

    /// <inheritdoc/>
    public static ulong SetDirty(ulong entry) => entry | A | D;

    /// <inheritdoc/>
    public static ulong ClearDirty(ulong entry) => entry & ~D;

    // What is present can be read; RW is bit 1, US bit 2, XD (the opposite of Execute) bit 63.
    private static PageAttributes Access(ulong entry) =>
        PageAttributes.Read
        | (PageAttributes)(entry & Rw)
        | (PageAttributes)((entry & Us) << 1)
        | (PageAttributes)(~entry >> 61 & (ulong)PageAttributes.Execute);
}
