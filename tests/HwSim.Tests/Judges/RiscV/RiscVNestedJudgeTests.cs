using HwSim.Tests.Judges.Qemu;
using IommuFd.HwSim.PageTables;
using Xunit;

namespace HwSim.Tests.Judges.RiscV;

/// <summary>Both stages: first-stage tables at guest-physical addresses that are not their own, against our unit.</summary>
public sealed class RiscVNestedJudgeTests(RiscVBench bench) : IClassFixture<RiscVBench>
{
    private const ulong Offset = 0x10_0000_0000;

    [Theory]
    [InlineData(39, 39)]
    [InlineData(48, 39)]
    [InlineData(57, 48)]
    [InlineData(39, 57)]
    public void First_over_second_stage(int first, int second)
    {
        var run = new JudgeRun("QEMU RISC-V IOMMU (debug registers)", $"riscv-sv Sv{first} over Sv{second}x4", 1_000, 15_000);
        while (run.Cases < run.Goal)
        {
            using var lower = new RiscVStage<RiscV64>(bench.Memory, RiscV64.SvX4(second), run.Random, true);
            // First-stage tables are reached through the second stage, at an offset; their writes never happen (no AMO_HWAD), reads do.
            var arena = bench.Memory.Options;
            if (lower.Table.Map(
                arena.ArenaBase + Offset, arena.ArenaBase, arena.ArenaSize, PageAttributes.User | PageAttributes.Read | PageAttributes.Write
                | PageAttributes.Accessed | PageAttributes.Dirty) != 0)
                continue;
            var areas = lower.Mappings.Areas.Select(area => (area.Iova, area.Iova + area.Length - 1)).ToArray();
            using var upper = new RiscVStage<RiscV64>(bench.Memory, RiscV64.Sv(first, Math.Min(56, second + 2)), run.Random, false, areas);
            var relocation = new Relocation<RiscV64>(bench.Memory, upper.Table.Geometry, Offset);
            relocation.Apply(upper.Table.Root);
            bench.SetDevice(0, ((ulong)Mode(second) << 60) | (lower.Table.Root >> 12) | 1UL << 44, 1 << 12, ((ulong)Mode(first) << 60)
                | ((upper.Table.Root + Offset) >> 12));
            for (var batch = 0; batch < 16 && run.Cases < run.Goal; batch++)
                Batch(run, upper.Mappings, lower, first);
            relocation.Undo(upper.Table.Root);
        }

        run.Finish();
    }

    private static int Mode(int width) => 8 + ((width - 39) / 9);

    private void Batch(JudgeRun run, RandomMappings mappings, RiscVStage<RiscV64> lower, int first)
    {
        var damage = default(WalkStep);
        ulong damaged = 0;
        if (run.Random.Next(2) == 0
            && lower.Table.Walker.Explain(lower.Mappings.Probe(lower.Table.Geometry.InputBits), WalkAccess.None, out _) is { Count: > 0 } steps)
        {
            damage = steps[run.Random.Next(steps.Count)];
            damaged = Mutation.Of(run.Random, damage.Entry, 64);
            bench.Change(damage.EntryAddress, damaged);
        }

        var cases = new List<(ulong Iova, bool Write, int Index, RiscVAnswer Ours)>();
        for (var i = 0; i < 32; i++)
        {
            var iova = mappings.Probe(first);
            var write = run.Random.Next(2) == 0;
            var ours = bench.Ours(iova, write);
            // A table pointer that damage led out of the arena finds what QEMU has there.
            if (ours.Cause is 5 or 7)
                continue;
            cases.Add((iova, write, bench.Ask(iova, write), ours));
        }

        bench.Qtest.Flush();
        foreach (var (iova, write, index, ours) in cases)
        {
            var theirs = bench.Answer(index);
            run.Compare(ours, theirs, () => QemuDepartures.RiscVNested(write, RiscV64.Sv(first).Contains(iova), ours, theirs, damaged),
                () => $"{(write ? "read+write" : "read")} 0x{iova:x}, second-stage entry 0x{damaged:x} (was 0x{damage.Entry:x}) at level "
                    + $"{damage.Level}");
        }

        if (damaged != 0)
            bench.Change(damage.EntryAddress, damage.Entry);
    }
}
