using System.Numerics;

namespace IommuFd.HwSim.PageTables;

/// <summary>
/// AMD I/O page tables of version 1: AMD I/O Virtualization Technology (IOMMU) Specification section 2.2.3. One to six levels; an entry names the
/// level of the table that it points to, so levels can be skipped; pages have any power-of-two size, encoded in the low address bits.
/// </summary>
/// <remarks>
/// Level 0 here is the specification's level 1. Does not model: memory encryption (the C bit is part of the address), forced coherence of reads apart
/// from the FC bit.
/// </remarks>
public readonly struct AmdV1 : IPageTableFormat
{
    private const ulong Pr = 1, A = 1 << 5, D = 1 << 6, Fc = 1UL << 60, Ir = 1UL << 61, Iw = 1UL << 62;
    private const ulong Address = 0x000F_FFFF_FFFF_F000;
    private const ulong Reserved = 0x07F0_0000_0000_0000;

    /// <summary>All sizes but 512 GiB, which hardware gets wrong.</summary>
    public const ulong AllPageSizes = 0x000F_FF7F_FFFF_F000;

    /// <summary>Geometry for a number of levels.</summary>
    /// <param name="levels">1 to 6 (the Mode field of the device table entry).</param>
    /// <param name="outputBits">Physical address width, up to 52.</param>
    /// <param name="features">DynamicTop, ForceCoherent, DirtyTracking.</param>
    /// <param name="pageSizes">Sizes to use.</param>
    /// <exception cref="ArgumentOutOfRangeException">Another number of levels.</exception>
    public static PageTableGeometry Geometry(int levels, int outputBits = 52, PageTableFeatures features = default, ulong pageSizes = AllPageSizes) =>
        new()
    {
        TopLevel = levels is >= 1 and <= 6
            ? levels - 1
            : throw new ArgumentOutOfRangeException(nameof(levels), "AMD v1 page tables have 1 to 6 levels."),
        InputBits = Math.Min(64, 12 + (9 * levels)),
        OutputBits = outputBits,
        GranuleLg2 = 12,
        PageSizes = pageSizes,
        Features = features,
    };

    /// <inheritdoc/>
    public static string Name => "amd-v1";

    /// <inheritdoc/>
    public static bool AccessedInTables => true;

    /// <inheritdoc/>
    public static bool SkipsLevels => true;

    /// <inheritdoc/>
    public static int ItemSizeLg2(in PageTableGeometry geometry, int level) => 12 + (9 * level);

    /// <inheritdoc/>
    public static ulong LeafSizes(in PageTableGeometry geometry, int level)
    {
        // The sixth level holds no pages. At the others a page has the item's size or up to 256 items.
        if (level >= 5)
            return 0;
        var item = 12 + (9 * level);
        var largest = Math.Min(51, item + 8);
        return (2UL << largest) - (1UL << item);
    }

    /// <inheritdoc/>
    public static EntryKind KindOf(in PageTableGeometry geometry, int level, ulong entry)
    {
        if ((entry & Pr) == 0)
            return EntryKind.Empty;
        return NextLevelField(entry) switch
        {
            0 or 7 => level < 5 ? EntryKind.Leaf : EntryKind.Reserved,
            _ => level == 0 ? EntryKind.Reserved : EntryKind.Table,
        };
    }

    /// <inheritdoc/>
    public static ulong ReservedBits(in PageTableGeometry geometry, int level, ulong entry) => entry & Reserved;

    /// <inheritdoc/>
    public static ulong PlainTable(in PageTableGeometry geometry, int level, out ulong mask)
    {
        mask = Pr | (7UL << 9) | Ir | Iw | Reserved | (Address & ~((1UL << geometry.OutputBits) - 1));
        return Pr | ((ulong)level << 9) | Ir | Iw;
    }

    /// <inheritdoc/>
    public static ulong PlainLeaf(in PageTableGeometry geometry, PageAttributes access, out ulong mask)
    {
        var allowed = Pr | ((access & (PageAttributes.Read | PageAttributes.Execute)) != 0 ? Ir : 0)
            | ((access & PageAttributes.Write) != 0 ? Iw : 0);
        mask = allowed | (7UL << 9) | Reserved | (Address & ~((1UL << geometry.OutputBits) - 1));
        return allowed;
    }

    /// <inheritdoc/>
    public static ulong TableAddress(in PageTableGeometry geometry, ulong entry) => entry & Address;

    /// <inheritdoc/>
    public static int NextLevel(in PageTableGeometry geometry, int level, ulong entry) => NextLevelField(entry) - 1;

    /// <inheritdoc/>
    public static PageAttributes TableLimits(in PageTableGeometry geometry, ulong entry) => Access(entry);

    /// <inheritdoc/>
    public static int LeafSizeLg2(in PageTableGeometry geometry, int level, ulong entry)
    {
        var item = 12 + (9 * level);
        if (NextLevelField(entry) == 0)
            return item;
        // The number of ones from address bit 12 up, and the zero above them, give the size: 0 = 8 KiB, 01 = 16 KiB, 011 = 32 KiB ...
        var size = 13 + BitOperations.TrailingZeroCount(~((entry & Address) >> 12));
        return size < item + 9 ? size : -1;
    }

    /// <inheritdoc/>
    public static ulong LeafAddress(in PageTableGeometry geometry, int level, ulong entry)
    {
        if (NextLevelField(entry) == 0)
            return entry & Address;
        var size = 13 + BitOperations.TrailingZeroCount(~((entry & Address) >> 12));
        return entry & Address & ~((1UL << Math.Min(size, 63)) - 1);
    }

    /// <inheritdoc/>
    public static PageAttributes Attributes(in PageTableGeometry geometry, int level, ulong entry) =>
        // A and D are bits 5 and 6, FC is bit 60: shifted to where PageAttributes has them.
        Access(entry)
        | (PageAttributes)(entry >> 51 & (ulong)PageAttributes.Coherent)
        | (PageAttributes)(entry << 1 & (ulong)(PageAttributes.Accessed | PageAttributes.Dirty));

    /// <inheritdoc/>
    public static ulong MakeTable(in PageTableGeometry geometry, int level, ulong address) => address | Pr | ((ulong)level << 9) | Ir | Iw;

    /// <inheritdoc/>
    public static bool TryEncode(in PageTableGeometry geometry, PageAttributes attributes, out ulong bits)
    {
        bits = Pr
            | ((attributes & PageAttributes.Read) != 0 ? Ir : 0)
            | ((attributes & PageAttributes.Write) != 0 ? Iw : 0)
            | ((attributes & PageAttributes.Coherent) != 0 || geometry.Has(PageTableFeatures.ForceCoherent) ? Fc : 0)
            | ((attributes & PageAttributes.Accessed) != 0 ? A : 0)
            | ((attributes & PageAttributes.Dirty) != 0 ? D : 0);
        return (attributes & (PageAttributes.Read | PageAttributes.Write)) != 0;
    }

    /// <inheritdoc/>
    public static ulong MakeLeaf(in PageTableGeometry geometry, int level, int sizeLg2, ulong address, ulong bits) =>
        sizeLg2 == 12 + (9 * level)
            ? address | bits
            : address | bits | (7UL << 9) | ((1UL << (sizeLg2 - 1)) - (1UL << 12));

    /// <inheritdoc/>
    public static ulong SetAccessed(ulong entry) => entry | A;

    /// <inheritdoc/>
    public static ulong SetDirty(ulong entry) => entry | A | D;

    /// <inheritdoc/>
    public static ulong ClearDirty(ulong entry) => entry & ~D;

    private static int NextLevelField(ulong entry) => (int)(entry >> 9 & 7);

    // IR and IW are bits 61 and 62. What can be read can be executed.
    private static PageAttributes Access(ulong entry) =>
        PageAttributes.User | (PageAttributes)((entry >> 61 & 3) | (entry >> 59 & 4));
}
