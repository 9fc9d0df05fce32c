namespace IommuFd.HwSim.PageTables;

/// <summary>
/// RISC-V Sv39, Sv48, Sv57 (Privileged Architecture sections 12.4 to 12.6) and, for guest physical addresses, Sv39x4, Sv48x4, Sv57x4 (hypervisor
/// extension section 21.5.1): the latter have two more address bits in the root table and are not sign-extended. Options: Svnapot (64 KiB pages),
/// Svpbmt (memory types).
/// </summary>
public readonly struct RiscV64 : IPageTableFormat
{
    private const ulong Ppn = 0x003F_FFFF_FFFF_FC00, N = 1UL << 63, Pbmt = 3UL << 61, Reserved = 0x7FUL << 54;

    /// <summary>Geometry of a first stage: Sv39, Sv48 or Sv57.</summary>
    /// <param name="width">39, 48 or 57.</param>
    /// <param name="outputBits">Physical address width, up to 56.</param>
    /// <param name="features">Contiguous (Svnapot), Pbmt, DirtyTracking.</param>
    /// <exception cref="ArgumentOutOfRangeException">Another width.</exception>
    public static PageTableGeometry Sv(int width, int outputBits = 56, PageTableFeatures features = default) => new()
    {
        TopLevel = width switch { 39 => 2, 48 => 3, 57 => 4,
            _ => throw new ArgumentOutOfRangeException(nameof(width), "RISC-V has Sv39, Sv48 and Sv57.") },
        InputBits = width,
        OutputBits = outputBits,
        GranuleLg2 = 12,
        PageSizes = 0x0001_0080_4020_1000 | (features.HasFlag(PageTableFeatures.Contiguous) ? 0x1_0000UL : 0),
        Features = features | PageTableFeatures.SignExtend,
    };

    /// <summary>Geometry of a second stage: Sv39x4, Sv48x4 or Sv57x4.</summary>
    /// <inheritdoc cref="Sv"/>
    public static PageTableGeometry SvX4(int width, int outputBits = 56, PageTableFeatures features = default)
    {
        var geometry = Sv(width, outputBits, features);
        return geometry with { InputBits = width + 2, Features = geometry.Features & ~PageTableFeatures.SignExtend };
    }

    /// <inheritdoc/>
    public static string Name => "riscv-sv";

    /// <inheritdoc/>
    public static bool HasSignedAddresses => true;

    /// <inheritdoc/>
    public static int AddressShift => 2;

    /// <inheritdoc/>
    public static int ItemSizeLg2(in PageTableGeometry geometry, int level) => 12 + (9 * level);

    /// <inheritdoc/>
    public static ulong LeafSizes(in PageTableGeometry geometry, int level) =>
        (1UL << (12 + (9 * level))) | (level == 0 && geometry.Has(PageTableFeatures.Contiguous) ? 0x1_0000UL : 0);

    /// <inheritdoc/>
    public static ulong ReservedBits(in PageTableGeometry geometry, int level, ulong entry)
    {
        if ((entry & (RiscVEntry.R | RiscVEntry.X)) == 0)
            return entry & (Reserved | N | Pbmt | RiscVEntry.U | RiscVEntry.A | RiscVEntry.D);
        var reserved = Reserved
            | (geometry.Has(PageTableFeatures.Contiguous) && level == 0 ? 0 : N)
            | (geometry.Has(PageTableFeatures.Pbmt) && (entry & Pbmt) != Pbmt ? 0 : Pbmt);
        // Svnapot encodes 64 KiB only: PPN bits 3:0 are 1000.
        if ((entry & N) != 0 && (reserved & N) == 0 && (entry >> 10 & 0xF) != 8)
            reserved |= N;
        return entry & reserved;
    }

    /// <inheritdoc/>
    public static ulong PlainTable(in PageTableGeometry geometry, int level, out ulong mask)
    {
        mask = 0xDF | Reserved | N | Pbmt | (Ppn & ~(((1UL << geometry.OutputBits) - 1) >> 2));
        return RiscVEntry.V;
    }

    /// <inheritdoc/>
    public static ulong PlainLeaf(in PageTableGeometry geometry, PageAttributes access, out ulong mask)
    {
        var allowed = RiscVEntry.PlainLeaf(access);
        mask = allowed | Reserved | N | Pbmt | (Ppn & ~(((1UL << geometry.OutputBits) - 1) >> 2));
        return allowed;
    }

    /// <inheritdoc/>
    public static ulong TableAddress(in PageTableGeometry geometry, ulong entry) => (entry & Ppn) << 2;

    /// <inheritdoc/>
    public static int LeafSizeLg2(in PageTableGeometry geometry, int level, ulong entry) => (entry & N) != 0 ? 16 : 12 + (9 * level);

    /// <inheritdoc/>
    public static ulong LeafAddress(in PageTableGeometry geometry, int level, ulong entry) =>
        ((entry & Ppn) << 2) & ~((entry & N) != 0 ? 0xF000UL : 0);

    /// <inheritdoc/>
    public static PageAttributes Attributes(in PageTableGeometry geometry, int level, ulong entry) =>
        RiscVEntry.Attributes(entry)
        | ((entry >> 61 & 3) switch { 1 => PageAttributes.NonCacheable, 2 => PageAttributes.Device, _ => 0 });

    /// <inheritdoc/>
    public static bool TryEncode(in PageTableGeometry geometry, PageAttributes attributes, out ulong bits)
    {
        var ok = RiscVEntry.TryEncode(attributes, out bits);
        if (geometry.Has(PageTableFeatures.Pbmt))
            bits |= (attributes & PageAttributes.Device) != 0 ? 2UL << 61 : (attributes & PageAttributes.NonCacheable) != 0 ? 1UL << 61 : 0;
        return ok;
    }

    /// <inheritdoc/>
    public static ulong MakeLeaf(in PageTableGeometry geometry, int level, int sizeLg2, ulong address, ulong bits) =>
        (address >> 2) | bits | (sizeLg2 == 16 ? N | (8UL << 10) : 0);

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
