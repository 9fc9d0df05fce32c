namespace IommuFd.HwSim.PageTables;

/// <summary><see cref="ArmStage1"/> with hierarchical permissions disabled (HAD): table entries do not limit what is below them.</summary>
public readonly struct ArmStage1Flat : IPageTableFormat
{
    /// <inheritdoc/>
    public static string Name => "arm-s1-had";

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
        return ArmStage1.PlainLeaf(geometry, access, out mask);
    }

    /// <inheritdoc/>
    public static ulong TableAddress(in PageTableGeometry geometry, ulong entry) => ArmLpae.Address(geometry, entry);

    /// <inheritdoc/>
    public static int LeafSizeLg2(in PageTableGeometry geometry, int level, ulong entry) => ArmLpae.LeafSizeLg2(geometry, level, entry);

    /// <inheritdoc/>
    public static ulong LeafAddress(in PageTableGeometry geometry, int level, ulong entry) => ArmLpae.Address(geometry, entry);

    /// <inheritdoc/>
    public static PageAttributes Attributes(in PageTableGeometry geometry, int level, ulong entry) => ArmStage1.Attributes(geometry, level, entry);

    /// <inheritdoc/>
    public static ulong MakeTable(in PageTableGeometry geometry, int level, ulong address) => ArmStage1.MakeTable(geometry, level, address);

    /// <inheritdoc/>
    public static bool TryEncode(in PageTableGeometry geometry, PageAttributes attributes, out ulong bits) =>
        ArmStage1.TryEncode(geometry, attributes, out bits);

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
    public static ulong SetDirty(ulong entry) => ArmStage1.SetDirty(entry);

    /// <inheritdoc/>
    public static ulong ClearDirty(ulong entry) => ArmStage1.ClearDirty(entry);
}
