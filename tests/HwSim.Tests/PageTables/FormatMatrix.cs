using IommuFd.HwSim.PageTables;
using Xunit;

namespace HwSim.Tests.PageTables;

/// <summary>Every format in every configuration that the matrix runs over.</summary>
public static class FormatMatrix
{
    public static IEnumerable<TheoryDataRow<FormatCase>> All =>
        Cases.Select(c => new TheoryDataRow<FormatCase>(c) { TestDisplayName = c.ToString() });

    public static IReadOnlyList<FormatCase> Cases { get; } =
    [
        new FormatCase<VtdSecondStage>("39", VtdSecondStage.Geometry(39)),
        new FormatCase<VtdSecondStage>("48", VtdSecondStage.Geometry(48)),
        new FormatCase<VtdSecondStage>("57", VtdSecondStage.Geometry(57)),
        new FormatCase<VtdSecondStage>("48, 4K only, 39-bit output", VtdSecondStage.Geometry(48, 39, pageSizes: 0x1000)),
        new FormatCase<X64>("48", X64.Geometry(48)),
        new FormatCase<X64>("57", X64.Geometry(57)),
        new FormatCase<X64>("47", X64.Geometry(47)),
        new FormatCase<X64>("56", X64.Geometry(56)),
        new FormatCase<AmdV1>("1 level", AmdV1.Geometry(1)),
        new FormatCase<AmdV1>("3 levels", AmdV1.Geometry(3)),
        new FormatCase<AmdV1>("4 levels", AmdV1.Geometry(4)),
        new FormatCase<AmdV1>("6 levels", AmdV1.Geometry(6)),
        new FormatCase<AmdV1>("3 levels growing", AmdV1.Geometry(3, features: PageTableFeatures.DynamicTop)),
        new FormatCase<AmdV1>("4 levels, 4K 2M 1G", AmdV1.Geometry(4, pageSizes: 0x4020_1000)),
        new FormatCase<RiscV64>("Sv39", RiscV64.Sv(39)),
        new FormatCase<RiscV64>("Sv48 Svnapot Svpbmt", RiscV64.Sv(48, 56, PageTableFeatures.Contiguous | PageTableFeatures.Pbmt)),
        new FormatCase<RiscV64>("Sv57", RiscV64.Sv(57)),
        new FormatCase<RiscV64>("Sv39x4", RiscV64.SvX4(39)),
        new FormatCase<RiscV64>("Sv48x4 Svnapot", RiscV64.SvX4(48, 56, PageTableFeatures.Contiguous)),
        new FormatCase<RiscV64>("Sv57x4", RiscV64.SvX4(57)),
        new FormatCase<RiscV32>("Sv32", RiscV32.Sv32()),
        new FormatCase<RiscV32>("Sv32x4", RiscV32.Sv32X4()),
        .. Arm(12, 32), .. Arm(12, 36), .. Arm(12, 39), .. Arm(12, 40), .. Arm(12, 42), .. Arm(12, 44), .. Arm(12, 48),
        .. Arm(14, 36), .. Arm(14, 40), .. Arm(14, 47), .. Arm(14, 48),
        .. Arm(16, 32), .. Arm(16, 40), .. Arm(16, 42), .. Arm(16, 48),
        new FormatCase<ArmStage1>("4K 48 without contiguous", ArmStage1.Geometry(12, 48, features: 0)),
        .. Arm52(12), .. Arm52(14), .. Arm52(16),
    ];

    private static IEnumerable<FormatCase> Arm(int granule, int bits)
    {
        var name = $"{1 << (granule - 10)}K {bits}";
        yield return new FormatCase<ArmStage1>(name, ArmStage1.Geometry(granule, bits));
        yield return new FormatCase<ArmStage2>(name, ArmStage2.Geometry(granule, bits));
    }

    private static IEnumerable<FormatCase> Arm52(int granule)
    {
        const PageTableFeatures features = PageTableFeatures.Contiguous | PageTableFeatures.Address52;
        var name = $"{1 << (granule - 10)}K 52";
        yield return new FormatCase<ArmStage1>(name, ArmStage1.Geometry(granule, 52, 52, features));
        yield return new FormatCase<ArmStage2>(name, ArmStage2.Geometry(granule, 52, 52, features));
    }
}
