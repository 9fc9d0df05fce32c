namespace IommuFd.HwSim.PageTables;

/// <summary>
/// VT-d second-stage paging: Intel Virtualization Technology for Directed I/O, section 3.7 "Second-Stage Translation" and 9.8/9.9 (entry formats).
/// 3, 4 or 5 levels for 39, 48 or 57 bits. An entry is present when Read or Write is set.
/// </summary>
/// <remarks>
/// Does not model: execute permissions (what can be read can be executed), the memory-type fields of extended mode (EMT, IPAT), what the
/// transient-mapping bit (TM) asks of a device TLB.
/// </remarks>
public readonly struct VtdSecondStage : IPageTableFormat
{
    private const ulong R = 1, W = 2, Ps = 1 << 7, A = 1 << 8, D = 1 << 9, Snp = 1 << 11, Tm = 1UL << 62;
    private const ulong Address = 0x000F_FFFF_FFFF_F000;

    /// <summary>Geometry for an adjusted guest address width.</summary>
    /// <param name="width">39, 48 or 57 bits (AGAW).</param>
    /// <param name="outputBits">Host address width (HAW), up to 52.</param>
    /// <param name="features">ForceCoherent, DirtyTracking.</param>
    /// <param name="pageSizes">4 KiB and what CAP.SLLPS offers: 2 MiB, 1 GiB.</param>
    /// <exception cref="ArgumentOutOfRangeException">Another width.</exception>
    public static PageTableGeometry Geometry(int width, int outputBits = 52, PageTableFeatures features = default, ulong pageSizes = 0x4020_1000) =>
        new()
    {
        TopLevel = width switch { 39 => 2, 48 => 3, 57 => 4,
            _ => throw new ArgumentOutOfRangeException(nameof(width), "VT-d second stage has 39, 48 or 57 bits.") },
        InputBits = width,
        OutputBits = outputBits,
        GranuleLg2 = 12,
        PageSizes = pageSizes,
        Features = features,
    };

    /// <inheritdoc/>
    public static string Name => "vtd-ss";

    /// <inheritdoc/>
    public static bool AccessedInTables => true;

    /// <inheritdoc/>
    public static int ItemSizeLg2(in PageTableGeometry geometry, int level) => 12 + (9 * level);

    /// <inheritdoc/>
    public static ulong LeafSizes(in PageTableGeometry geometry, int level) => level <= 2 ? 1UL << (12 + (9 * level)) : 0;

    /// <inheritdoc/>
    public static EntryKind KindOf(in PageTableGeometry geometry, int level, ulong entry)
    {
        if ((entry & (R | W)) == 0)
            return EntryKind.Empty;
        return level == 0 || ((entry & Ps) != 0 && level <= 2) ? EntryKind.Leaf : EntryKind.Table;
    }

    /// <inheritdoc/>
    public static ulong ReservedBits(in PageTableGeometry geometry, int level, ulong entry)
    {
        // Above 1 GiB there are no pages, and where CAP.SLLPS does not offer the size PS is reserved too (table 6 of section 9.8).
        var reserved = entry & ((geometry.Has(PageTableFeatures.NoSnoopControl) ? Snp : 0)
            | (geometry.Has(PageTableFeatures.NoTransientMapping) ? Tm : 0));
        if (level == 0 || (entry & Ps) == 0)
            return reserved;
        return reserved != 0 ? reserved : level > 2 || (geometry.PageSizes & LeafSizes(geometry, level)) == 0 ? Ps : 0;
    }

    /// <inheritdoc/>
    public static ulong PlainTable(in PageTableGeometry geometry, int level, out ulong mask)
    {
        mask = R | W | Ps | Snp | Tm | (Address & ~((1UL << geometry.OutputBits) - 1));
        return R | W;
    }

    /// <inheritdoc/>
    public static ulong PlainLeaf(in PageTableGeometry geometry, PageAttributes access, out ulong mask)
    {
        var allowed = ((ulong)access & (R | W)) | ((access & PageAttributes.Execute) != 0 ? R : 0);
        mask = allowed | (geometry.Has(PageTableFeatures.NoSnoopControl) ? Snp : 0) | (geometry.Has(PageTableFeatures.NoTransientMapping) ? Tm : 0)
            | (Address & ~((1UL << geometry.OutputBits) - 1));
        return allowed;
    }

    /// <inheritdoc/>
    public static ulong TableAddress(in PageTableGeometry geometry, ulong entry) => entry & Address;

    /// <inheritdoc/>
    public static PageAttributes TableLimits(in PageTableGeometry geometry, ulong entry) => Access(entry) | PageAttributes.User;

    /// <inheritdoc/>
    public static int LeafSizeLg2(in PageTableGeometry geometry, int level, ulong entry) => 12 + (9 * level);

    /// <inheritdoc/>
    public static ulong LeafAddress(in PageTableGeometry geometry, int level, ulong entry) => entry & Address;

    /// <inheritdoc/>
    public static PageAttributes Attributes(in PageTableGeometry geometry, int level, ulong entry) =>
        // A and D are bits 8 and 9, SNP is bit 11: shifted to where PageAttributes has them.
        (Access(entry) + (uint)PageAttributes.User)
        | (PageAttributes)((uint)entry >> 2 & (uint)(PageAttributes.Accessed | PageAttributes.Dirty | PageAttributes.Coherent));

    /// <inheritdoc/>
    public static ulong MakeTable(in PageTableGeometry geometry, int level, ulong address) =>
        address | R | W;

    /// <inheritdoc/>
    public static bool TryEncode(in PageTableGeometry geometry, PageAttributes attributes, out ulong bits)
    {
        bits = (ulong)(attributes & (PageAttributes.Read | PageAttributes.Write));
        var present = bits != 0;
        if ((attributes & PageAttributes.Coherent) != 0 || geometry.Has(PageTableFeatures.ForceCoherent))
            bits |= Snp;
        if ((attributes & PageAttributes.Accessed) != 0)
            bits |= A;
        if ((attributes & PageAttributes.Dirty) != 0)
            bits |= D;
        return present;
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

    // R and W are bits 0 and 1, as in PageAttributes. What can be read can be executed.
    private static PageAttributes Access(ulong entry) => (PageAttributes)(((uint)entry & (uint)(R | W)) + (((uint)entry & (uint)R) * 4));
}
