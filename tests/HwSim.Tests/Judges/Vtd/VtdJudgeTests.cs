using IommuFd.HwSim.PageTables;
using Xunit;

namespace HwSim.Tests.Judges.Vtd;

/// <summary>
/// QEMU's VT-d walks tables that hwsim built, and damaged ones: data, faults, fault reasons and accessed and dirty bits are those of our unit.
/// </summary>
public class VtdJudgeTests
{
    [Fact]
    public void Second_stage_tables_in_legacy_mode() =>
        Tables("vtd-ss, legacy mode", VtdMode.Legacy, (bench, random) => SecondStage(bench, random));

    [Fact]
    public void Second_stage_tables_in_scalable_mode() =>
        Tables("vtd-ss, scalable mode", VtdMode.ScalableSecondStage, (bench, random) => SecondStage(bench, random));

    [Fact]
    public void First_stage_tables() =>
        Tables("x86-64, first stage", VtdMode.FirstStage, (bench, random) => Use(bench.NewTable<X64>(X64.Geometry(48, 48), random)));

    [Theory]
    [InlineData(VtdMode.Legacy)]
    [InlineData(VtdMode.ScalableSecondStage)]
    [InlineData(VtdMode.FirstStage)]
    public void Damaged_structures_above_the_tables(VtdMode mode)
    {
        var run = new JudgeRun("QEMU VT-d", $"VT-d root, context and PASID entries, {mode}", 60, 1500);
        using var bench = new VtdBench(mode);
        using var table = mode == VtdMode.FirstStage
            ? (IDisposable)bench.NewTable<X64>(X64.Geometry(48, 48), run.Random)
            : bench.NewTable<VtdSecondStage>(VtdSecondStage.Geometry(48, 48), run.Random);
        for (var tries = 0; run.Cases < run.Goal && tries < run.Goal * 20; tries++)
        {
            var (name, address, words) = bench.Structures[run.Random.Next(bench.Structures.Count)];
            address += (ulong)run.Random.Next(words) * 8;
            var entry = bench.Word(address);
            var damaged = Mutation.Of(run.Random, entry, 64);
            // A pointer to other memory finds what happens to be there.
            if (((entry ^ damaged) & 0xFFFF_FFFF_F000) != 0)
                continue;
            bench.Change(address, damaged);
            bench.Ask(run, VtdBench.Target, run.Random.Next(2) == 0, () => $"{name}, word {(address & 0x3F) / 8} 0x{damaged:x} (was 0x{entry:x})");
            bench.Change(address, entry);
        }

        run.Finish();
    }

    private static void Tables(string format, VtdMode mode, Func<VtdBench, Random, Walked> make)
    {
        var run = new JudgeRun("QEMU VT-d", format, 200, 4000);
        using var bench = new VtdBench(mode);
        while (run.Cases < run.Goal)
        {
            using var table = make(bench, run.Random);
            for (var i = 0; i < 60 && run.Cases < run.Goal; i++)
            {
                var iova = bench.Mappings.Probe(table.Geometry.InputBits);
                var write = run.Random.Next(2) == 0;
                var steps = run.Random.Next(4) == 0 ? table.Explain(iova) : [];
                if (steps.Count == 0)
                {
                    bench.Ask(run, iova, write, () => $"{table.Geometry.InputBits} bits");
                    continue;
                }

                var step = steps[run.Random.Next(steps.Count)];
                var entry = Mutation.Of(run.Random, step.Entry, 64);
                if (step.Kind == EntryKind.Table && ((step.Entry ^ entry) & 0xFFFF_FFFF_F000) != 0)
                    continue;
                bench.Change(step.EntryAddress, entry);
                bench.Ask(run, iova, write, () => $"{table.Geometry.InputBits} bits, entry of level {step.Level} 0x{entry:x} (was 0x{step.Entry:x})");
                bench.Change(step.EntryAddress, step.Entry);
            }

            bench.CompareTables(run);
        }

        run.Finish();
    }

    private static Walked SecondStage(VtdBench bench, Random random) =>
        Use(bench.NewTable<VtdSecondStage>(VtdSecondStage.Geometry(random.Next(2) == 0 ? 39 : 48, 48), random));

    private static Walked Use<TFormat>(PageTable<TFormat> table)
        where TFormat : struct, IPageTableFormat =>
        new(table, table.Geometry, iova => table.Walker.Explain(iova, WalkAccess.None, out _));

    private sealed record Walked(IDisposable Table, PageTableGeometry Geometry, Func<ulong, IReadOnlyList<WalkStep>> Explain) : IDisposable
    {
        public void Dispose() => Table.Dispose();
    }
}
