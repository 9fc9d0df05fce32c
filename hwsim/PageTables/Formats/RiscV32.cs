namespace IommuFd.HwSim.PageTables;

/// <summary>
/// RISC-V Sv32 and Sv32x4 (Privileged Architecture section 12.3, hypervisor extension section 21.5.1): two levels of 4-byte entries, 34-bit physical
/// addresses.
/// </summary>
public readonly struct RiscV32 : IPageTableFormat
{
    private const ulong Ppn = 0xFFFF_FC00;

    /// <summary>Geometry of a first stage.</summary>
    /// <param name="outputBits">Physical address width, up to 34.</param>
    /// <param name="features">DirtyTracking.</param>
    public static PageTableGeometry Sv32(int outputBits = 34, PageTableFeatures features = default) => new()
    {
        TopLevel = 1,
        InputBits = 32,
        OutputBits = outputBits,
        GranuleLg2 = 12,
        PageSizes = 0x40_1000,
        Features = features,
    };

    /// <summary>Geometry of a second stage, with 34 address bits.</summary>
    /// <inheritdoc cref="Sv32"/>
    public static PageTableGeometry Sv32X4(int outputBits = 34, PageTableFeatures features = default) =>
        Sv32(outputBits, features) with { InputBits = 34 };

    /// <inheritdoc/>
    public static string Name => "riscv-sv32";

    /// <inheritdoc/>
    public static int EntrySizeLg2 => 2;

    /// <inheritdoc/>
    public static int LevelBits => 10;

    /// <inheritdoc/>
    public static int AddressShift => 2;

    /// <inheritdoc/>
    public static int ItemSizeLg2(in PageTableGeometry geometry, int level) => 12 + (10 * level);

    /// <inheritdoc/>
    public static ulong LeafSizes(in PageTableGeometry geometry, int level) => 1UL << (12 + (10 * level));

    /// <inheritdoc/>
    public static ulong ReservedBits(in PageTableGeometry geometry, int level, ulong entry) =>
        (entry & (RiscVEntry.R | RiscVEntry.X)) == 0 ? entry & (RiscVEntry.U | RiscVEntry.A | RiscVEntry.D) : 0;

    /// <inheritdoc/>
    public static ulong PlainTable(in PageTableGeometry geometry, int level, out ulong mask)
    {
        mask = 0xDF | (Ppn & ~(((1UL << geometry.OutputBits) - 1) >> 2));
        return RiscVEntry.V;
    }

    /// <inheritdoc/>
    public static ulong PlainLeaf(in PageTableGeometry geometry, PageAttributes access, out ulong mask)
    {
        var allowed = RiscVEntry.PlainLeaf(access);
        mask = allowed | (Ppn & ~(((1UL << geometry.OutputBits) - 1) >> 2));
        return allowed;
    }

    /// <inheritdoc/>
    public static ulong TableAddress(in PageTableGeometry geometry, ulong entry) => (entry & Ppn) << 2;

    /// <inheritdoc/>
    public static int LeafSizeLg2(in PageTableGeometry geometry, int level, ulong entry) => 12 + (10 * level);

    /// <inheritdoc/>
    public static ulong LeafAddress(in PageTableGeometry geometry, int level, ulong entry) => (entry & Ppn) << 2;

    /// <inheritdoc/>
    public static PageAttributes Attributes(in PageTableGeometry geometry, int level, ulong entry) => RiscVEntry.Attributes(entry);

    /// <inheritdoc/>
    public static bool TryEncode(in PageTableGeometry geometry, PageAttributes attributes, out ulong bits) =>
        RiscVEntry.TryEncode(attributes, out bits);

    /// <inheritdoc/>
    public static ulong MakeLeaf(in PageTableGeometry geometry, int level, int sizeLg2, ulong address, ulong bits) => (address >> 2) | bits;

    /// <inheritdoc/>
    public static EntryKind KindOf(in PageTableGeometry geometry, int level, ulong entry) => RiscVEntry.KindOf(level, entry);

    /// <inheritdoc/>
    public static ulong MakeTable(in PageTableGeometry geometry, int level, ulong address) => (address >> 2) | RiscVEntry.V;

    /// <inheritdoc/>
    public static ulong AddressStep(ulong bytes) => bytes >> 2;

    /// <inheritdoc/>
    public static ulong SetAccessed(ulong entry) => entry | RiscVEntry.A;

    /// <inheritdoc/>
    public static ulong SetDirty(ulong entry) => entry | RiscVEntry.A | RiscVEntry.D;

    /// <inheritdoc/>
    public static ulong ClearDirty(ulong entry) => entry & ~RiscVEntry.D;
}
