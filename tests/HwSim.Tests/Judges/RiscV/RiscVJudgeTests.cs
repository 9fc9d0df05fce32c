using HwSim.Tests.Judges.Qemu;
using IommuFd.HwSim.PageTables;
using Xunit;

namespace HwSim.Tests.Judges.RiscV;

/// <summary>
/// QEMU's RISC-V IOMMU translates through tables that hwsim built, and through ones that were damaged afterwards: pages and fault causes agree.
/// </summary>
public sealed class RiscVJudgeTests(RiscVBench bench) : IClassFixture<RiscVBench>
{
    private const string Judge = "QEMU RISC-V IOMMU (debug registers)";

    [Theory]
    [InlineData(39, 8)]
    [InlineData(48, 9)]
    [InlineData(57, 10)]
    public void First_stage(int width, int mode) =>
        One<RiscV64>($"riscv-sv Sv{width}", RiscV64.Sv(width), false, root => bench.SetDevice(0, 0, 1 << 12, Satp(mode, root)));

    [Fact]
    public void First_stage_Sv32() =>
        One<RiscV32>("riscv-sv32 Sv32", RiscV32.Sv32(), false, root => bench.SetDevice(1 << 11, 0, 1 << 12, Satp(8, root)));

    [Theory]
    [InlineData(39, 8)]
    [InlineData(48, 9)]
    [InlineData(57, 10)]
    public void Second_stage(int width, int mode) =>
        One<RiscV64>($"riscv-sv Sv{width}x4", RiscV64.SvX4(width), true, root => bench.SetDevice(0, Satp(mode, root) | 1UL << 44, 0, 0));

    [Fact]
    public void First_stage_of_a_process()
    {
        var random = new Random(1);
        using var pages = new ProcessTable(bench.Memory);
        One<RiscV64>("riscv-sv Sv48 through a PDT", RiscV64.Sv(48), false, root =>
        {
            pages.Set((uint)random.Next(1, 256), Satp(9, root));
            bench.SetDevice(1 << 5, 0, 0, Satp(1, pages.Address));
        }, () => pages.ProcessId);
    }

    private void One<TFormat>(string name, PageTableGeometry geometry, bool second, Action<ulong> publish, Func<uint>? processId = null)
        where TFormat : struct, IPageTableFormat
    {
        var run = new JudgeRun(Judge, name, 2_000, 30_000);
        Span<Case> cases = stackalloc Case[64];
        while (run.Cases < run.Goal)
        {
            using var stage = new RiscVStage<TFormat>(bench.Memory, geometry, run.Random, second);
            publish(stage.Table.Root);
            for (var batch = 0; batch < 16 && run.Cases < run.Goal; batch++)
            {
                var count = 0;
                for (var i = 0; i < cases.Length; i++)
                {
                    if (Ask(run.Random, stage, processId?.Invoke() ?? 0, out cases[count]))
                        count++;
                }

                bench.Qtest.Flush();
                for (var i = 0; i < count; i++)
                {
                    var asked = cases[i];
                    run.Compare(asked.Ours, bench.Answer(asked.Index), () => QemuDepartures.RiscV(asked.Result, bench.Answer(asked.Index).Cause),
                        asked.ToString);
                }
            }
        }

        run.Finish();
    }

    // One question; every third time an entry on the way is damaged first and mended afterwards. False when the damage leads to memory that is not
    // mirrored.
    private bool Ask<TFormat>(Random random, RiscVStage<TFormat> stage, uint processId, out Case asked)
        where TFormat : struct, IPageTableFormat
    {
        var bytes = 1 << TFormat.EntrySizeLg2;
        var iova = stage.Mappings.Probe(stage.Table.Geometry.InputBits);
        var write = random.Next(2) == 0;
        var walker = stage.Table.Walker;
        var steps = random.Next(3) == 0 ? walker.Explain(iova, WalkAccess.None, out _) : [];
        var damaged = steps.Count > 0 ? steps[random.Next(steps.Count)] : default;
        if (steps.Count > 0)
            Store(bytes, damaged.EntryAddress, Mutation.Of(random, damaged.Entry, 8 * bytes));
        walker.Translate(iova, RiscVStage<TFormat>.Access(write), out var result);
        var skipped = result.Fault == WalkFault.TableOutsideMemory && bench.IsOutsideMirror(result.EntryAddress);
        asked = default;
        if (!skipped)
        {
            var page = result.Output & ~((1UL << result.SizeLg2) - 1);
            asked = new Case(iova, write, bench.Ask(iova, write, processId), result,
                result.Ok ? new RiscVAnswer(0, page >> 22) : new RiscVAnswer(stage.Cause(result.Fault, write), 0));
        }

        if (steps.Count > 0)
            Store(bytes, damaged.EntryAddress, damaged.Entry);
        return !skipped;
    }

    private void Store(int bytes, ulong address, ulong entry)
    {
        if (bytes == 8)
            bench.Memory.Write64(address, entry);
        else
            bench.Memory.Write32(address, (uint)entry);
        bench.Qtest.Write(bytes, address, entry);
    }

    private static ulong Satp(int mode, ulong root) => ((ulong)mode << 60) | (root >> 12);

    private readonly record struct Case(ulong Iova, bool Write, int Index, WalkResult Result, RiscVAnswer Ours)
    {
        public override string ToString() =>
            $"{(Write ? "read+write" : "read")} 0x{Iova:x}, our walk: {Result.Fault} at level {Result.Level}, entry 0x{Result.Entry:x}";
    }
}
