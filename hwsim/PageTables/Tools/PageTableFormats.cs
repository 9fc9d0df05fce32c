using System.Globalization;

namespace IommuFd.HwSim.PageTables;

/// <summary>
/// Formats by name: <c>vtd-ss-48</c>, <c>x86-64-57</c>, <c>amd-v1-4</c>, <c>amd-v2-48</c>, <c>arm-s1-4k-48</c>, <c>arm-s2-64k-40</c>,
/// <c>riscv-sv39</c>, <c>riscv-sv39x4</c>.
/// </summary>
public static class PageTableFormats
{
    /// <summary>Every name, with Arm's free widths shown by their usual values.</summary>
    public static IReadOnlyList<string> Names { get; } =
    [
        "vtd-ss-39", "vtd-ss-48", "vtd-ss-57", "x86-64-48", "x86-64-57",
        "amd-v1-1", "amd-v1-2", "amd-v1-3", "amd-v1-4", "amd-v1-5", "amd-v1-6", "amd-v2-48", "amd-v2-57",
        "arm-s1-4k-39", "arm-s1-4k-48", "arm-s1-4k-52", "arm-s1-16k-48", "arm-s1-16k-52", "arm-s1-64k-48", "arm-s1-64k-52",
        "arm-s2-4k-40", "arm-s2-4k-48", "arm-s2-4k-52", "arm-s2-16k-48", "arm-s2-16k-52", "arm-s2-64k-48", "arm-s2-64k-52",
        "riscv-sv32", "riscv-sv39", "riscv-sv48", "riscv-sv57", "riscv-sv32x4", "riscv-sv39x4", "riscv-sv48x4", "riscv-sv57x4",
    ];

    /// <summary>The format of a name.</summary>
    /// <param name="name">The name; Arm's last number is any input width in bits that the granule allows.</param>
    /// <param name="outputBits">Physical address width, or 0 for the format's widest.</param>
    /// <returns>Null when there is no such format or width.</returns>
    public static PageTableTool? Find(string name, int outputBits = 0)
    {
        ArgumentNullException.ThrowIfNull(name);
        var cut = name.LastIndexOf('-');
        var number = 0;
        if (cut < 0 || (!name.StartsWith("riscv-", StringComparison.Ordinal)
            && !int.TryParse(name.AsSpan(cut + 1), NumberStyles.None, CultureInfo.InvariantCulture, out number)))
            return null;
        try
        {
            return (name[..cut], number) switch
            {
                ("vtd-ss", 39 or 48 or 57) => Tool<VtdSecondStage>(name, VtdSecondStage.Geometry(number), outputBits),
                ("x86-64" or "amd-v2", 48 or 57) => Tool<X64>(name, X64.Geometry(number), outputBits),
                ("amd-v1", >= 1 and <= 6) => Tool<AmdV1>(name, AmdV1.Geometry(number), outputBits),
                ("arm-s1-4k", _) => Arm1(name, 12, number, outputBits),
                ("arm-s1-16k", _) => Arm1(name, 14, number, outputBits),
                ("arm-s1-64k", _) => Arm1(name, 16, number, outputBits),
                ("arm-s2-4k", _) => Arm2(name, 12, number, outputBits),
                ("arm-s2-16k", _) => Arm2(name, 14, number, outputBits),
                ("arm-s2-64k", _) => Arm2(name, 16, number, outputBits),
                ("riscv", _) => RiscV(name, outputBits),
                _ => null,
            };
        }
        catch (ArgumentOutOfRangeException)
        {
            return null;
        }
    }

    private static PageTableTool? RiscV(string name, int outputBits)
    {
        const PageTableFeatures all = PageTableFeatures.Contiguous | PageTableFeatures.Pbmt;
        return name switch
        {
            "riscv-sv32" => Tool<RiscV32>(name, RiscV32.Sv32(), outputBits),
            "riscv-sv32x4" => Tool<RiscV32>(name, RiscV32.Sv32X4(), outputBits),
            "riscv-sv39" or "riscv-sv48" or "riscv-sv57" => Tool<RiscV64>(name, RiscV64.Sv(Width(name), features: all), outputBits),
            "riscv-sv39x4" or "riscv-sv48x4" or "riscv-sv57x4" => Tool<RiscV64>(name, RiscV64.SvX4(Width(name), features: all), outputBits),
            _ => null,
        };
    }

    private static int Width(string name) => int.Parse(name.AsSpan(8, 2), CultureInfo.InvariantCulture);

    private static PageTableTool Arm1(string name, int granuleLg2, int bits, int outputBits) =>
        Tool<ArmStage1>(name, ArmStage1.Geometry(granuleLg2, bits, bits > 48 ? 52 : 48, ArmFeatures(bits)), outputBits);

    private static PageTableTool Arm2(string name, int granuleLg2, int bits, int outputBits) =>
        Tool<ArmStage2>(name, ArmStage2.Geometry(granuleLg2, bits, bits > 48 ? 52 : 48, ArmFeatures(bits)), outputBits);

    private static PageTableFeatures ArmFeatures(int bits) => PageTableFeatures.Contiguous | (bits > 48 ? PageTableFeatures.Address52 : 0);

    private static PageTableTool Tool<TFormat>(string name, PageTableGeometry geometry, int outputBits)
        where TFormat : struct, IPageTableFormat
    {
        if (outputBits != 0)
        {
            ArgumentOutOfRangeException.ThrowIfLessThan(outputBits, 32);
            ArgumentOutOfRangeException.ThrowIfGreaterThan(outputBits, geometry.OutputBits);
            geometry = geometry with { OutputBits = outputBits };
        }

        return new PageTableTool<TFormat>(name, geometry);
    }
}
