using IommuFd.HwSim.PageTables;
using Xunit;

namespace HwSim.Tests.PageTables;

/// <summary>Every format in every configuration that the matrix runs over.</summary>
public static class FormatMatrix
{
    public static IEnumerable<TheoryDataRow<FormatCase>> All => Cases.Select(c => new TheoryDataRow<FormatCase>(c) { TestDisplayName = c.ToString() });

    public static IReadOnlyList<FormatCase> Cases { get; } =
    [
        new FormatCase<VtdSecondStage>("39", VtdSecondStage.Geometry(39)),
        new FormatCase<VtdSecondStage>("48", VtdSecondStage.Geometry(48)),
        new FormatCase<VtdSecondStage>("57", VtdSecondStage.Geometry(57)),
    ];
}
