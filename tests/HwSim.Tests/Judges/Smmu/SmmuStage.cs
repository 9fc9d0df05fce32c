using IommuFd.HwSim.PageTables;

namespace HwSim.Tests.Judges.Smmu;

/// <summary>A stage in one of the configurations that QEMU's unit has: granule, width, and the fields that say so.</summary>
/// <param name="GranuleLg2">12, 14 or 16.</param>
/// <param name="Bits">Input width.</param>
/// <param name="StartLevel">SL0, for stage 2.</param>
internal readonly record struct SmmuStage(int GranuleLg2, int Bits, int StartLevel = 0)
{
    // 16K with 48 bits and concatenated 4K roots are left out: QEMU does these differently (QemuDepartures.SmmuNotAsked).
    internal static SmmuStage[] First { get; } = [new(12, 39), new(12, 48), new(14, 47), new(14, 36), new(16, 42), new(16, 48)];

    internal static SmmuStage[] Second { get; } = [new(12, 39, 1), new(12, 44, 2), new(14, 36, 1), new(14, 44, 2), new(16, 39, 1), new(16, 44, 2)];

    internal PageTableGeometry FirstGeometry => ArmStage1.Geometry(GranuleLg2, Bits, 44);

    internal PageTableGeometry SecondGeometry => ArmStage2.Geometry(GranuleLg2, Bits, 44, topLevel: GranuleLg2 == 12 ? StartLevel + 1 : StartLevel);

    private ulong Tg0 => GranuleLg2 switch { 12 => 0, 14 => 2, _ => 1 };

    /// <summary>Word 0 of a context descriptor with TTB0 only.</summary>
    internal ulong DescriptorWord(uint asid) =>
        (ulong)(uint)(64 - Bits) | (Tg0 << 6) | 1UL << 8 | 1UL << 10 | 3UL << 12 | 1UL << 30 | 1UL << 31 | 4UL << 32 | 1UL << 41 | 1UL << 45
        | 1UL << 46
        | 1UL << 47 | ((ulong)asid << 48);

    /// <summary>Word 2 of a stream table entry.</summary>
    internal ulong StreamWord(uint vmid) =>
        vmid | ((ulong)(uint)(64 - Bits) << 32) | ((ulong)(uint)StartLevel << 38) | 1UL << 40 | 1UL << 42 | 3UL << 44 | (Tg0 << 46) | 4UL << 48
        | 1UL << 51 | 1UL << 58;

    public override string ToString() => $"{1 << (GranuleLg2 - 10)}K {Bits} bits";
}
