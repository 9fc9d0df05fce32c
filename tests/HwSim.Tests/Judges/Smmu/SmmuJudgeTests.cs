using HwSim.Tests.Judges.Qemu;
using IommuFd.HwSim.PageTables;
using Xunit;

namespace HwSim.Tests.Judges.Smmu;

/// <summary>QEMU's SMMUv3 translates through tables that hwsim built, and damaged ones: data and event records are those of our unit.</summary>
public sealed class SmmuJudgeTests(SmmuBench bench) : IClassFixture<SmmuBench>
{
    private const PageAttributes Used = PageAttributes.User | PageAttributes.Accessed | PageAttributes.Coherent;

    // The last: the page of an interrupt doorbell, as the kernel maps it.
    private static readonly PageAttributes[] FirstPermissions =
    [
        Used | PageAttributes.Read, Used | PageAttributes.Read | PageAttributes.Write,
        PageAttributes.User | PageAttributes.Accessed | PageAttributes.Device | PageAttributes.Execute | PageAttributes.Read | PageAttributes.Write,
    ];

    private static readonly PageAttributes[] SecondPermissions = [.. FirstPermissions, Used | PageAttributes.Write];

    [Fact]
    public void Stage_1() => Run("arm-s1", 5, 240, 4000, random =>
    {
        var stage = SmmuStage.First[random.Next(SmmuStage.First.Length)];
        var table = new PageTable<ArmStage1>(bench.Memory, stage.FirstGeometry);
        MapMailboxes(table, static physical => physical);
        var mappings = new RandomMappings(random);
        mappings.Fill(table, 40, SmmuBench.Pages, FirstPermissions);
        Descriptor(stage, table.Root);
        Streams(1 | (5 << 1) | bench.Descriptor, 0, 0);
        return new Tables([table], mappings, stage.Bits, iova => table.Walker.Explain(iova, WalkAccess.None, out _), stage.ToString());
    });

    [Fact]
    public void Stage_2() => Run("arm-s2", 6, 240, 4000, random =>
    {
        var stage = SmmuStage.Second[random.Next(SmmuStage.Second.Length)];
        var table = new PageTable<ArmStage2>(bench.Memory, stage.SecondGeometry);
        MapMailboxes(table, static physical => physical);
        var mappings = new RandomMappings(random);
        mappings.Fill(table, 40, SmmuBench.Pages, SecondPermissions);
        Streams(1 | (6 << 1), stage.StreamWord(7), table.Root);
        return new Tables([table], mappings, stage.Bits, iova => table.Walker.Explain(iova, WalkAccess.None, out _), stage.ToString());
    });

    [Fact]
    public void Nested() => Run("arm-s1 over arm-s2", 7, 240, 4000, random =>
    {
        var first = SmmuStage.First[random.Next(SmmuStage.First.Length)];
        var second = SmmuStage.Second[random.Next(SmmuStage.Second.Length)];
        var lower = new PageTable<ArmStage2>(bench.Memory, second.SecondGeometry);
        MapMailboxes(lower, static physical => physical);
        // Tables and descriptor of the first stage are at other addresses than their physical ones.
        var arena = bench.Memory.Options;
        Assert.Equal(0, lower.Map(arena.ArenaBase + Offset(second), arena.ArenaBase, arena.ArenaSize, SecondPermissions[1]));
        var mappings = new RandomMappings(random);
        mappings.Fill(lower, 40, SmmuBench.Pages, SecondPermissions);

        var upper = new PageTable<ArmStage1>(bench.Memory, first.FirstGeometry);
        MapMailboxes(upper, physical => SmmuBench.Mailbox((int)(physical >> 16) & 0xF).Iova);
        var areas = mappings.Areas.Select(area => (area.Iova, area.Iova + area.Length - 1)).ToArray();
        mappings = new RandomMappings(random);
        mappings.Fill(upper, 40, areas.Length == 0 ? SmmuBench.Pages : areas, FirstPermissions);
        var relocation = new Relocation<ArmStage1>(bench.Memory, first.FirstGeometry, Offset(second));
        relocation.Apply(upper.Root);
        Descriptor(first, upper.Root + Offset(second));
        Streams(1 | (7 << 1) | (bench.Descriptor + Offset(second)), second.StreamWord(7), lower.Root);
        return new Tables([new Undo(() => relocation.Undo(upper.Root)), upper, lower], mappings, first.Bits,
            iova => lower.Walker.Explain(iova, WalkAccess.None, out _), $"{first} over {second}");
    });

    [Theory]
    [InlineData(5)]
    [InlineData(6)]
    public void Damaged_stream_table_entries_and_context_descriptors(int config)
    {
        var run = new JudgeRun("QEMU SMMUv3", $"SMMUv3 stream table entry and context descriptor, stage {config - 4}", 80, 2000);
        using var first = new PageTable<ArmStage1>(bench.Memory, SmmuStage.First[0].FirstGeometry);
        using var second = new PageTable<ArmStage2>(bench.Memory, SmmuStage.Second[0].SecondGeometry);
        MapMailboxes(first, static physical => physical);
        MapMailboxes(second, static physical => physical);
        Descriptor(SmmuStage.First[0], first.Root);
        Streams(1 | ((ulong)(uint)config << 1) | (config == 5 ? bench.Descriptor : 0), SmmuStage.Second[0].StreamWord(7), second.Root);
        bench.Publish();
        while (run.Cases < run.Goal)
        {
            // One descriptor for all, an entry for each.
            var inDescriptor = config == 5 && run.Random.Next(2) == 0;
            List<(ulong Address, ulong Before, ulong Damaged)> damage = [];
            List<SmmuCase> cases = [];
            for (var i = 0; i < SmmuBench.Edus; i++)
            {
                var word = (ulong)(uint)run.Random.Next(config == 5 ? 2 : 4);
                var at = inDescriptor ? bench.Descriptor + (word * 8) : bench.Stream(bench.Devices[i]) + (word * 8);
                bench.Memory.Read64(at, out var before);
                var damaged = before ^ (1UL << run.Random.Next(64)) ^ (run.Random.Next(2) == 0 ? 1UL << run.Random.Next(64) : 0);
                // A reserved output size (IPS, S2PS) or granule (S2TG), and S2AA64 = 0, abort QEMU.
                if (((before ^ damaged) & (inDescriptor ? 7UL << 32 : word == 2 ? (0xFUL << 48) | (3UL << 46) : 0)) != 0)
                    damaged = before;
                // Pointers to other memory find what is there.
                if ((!inDescriptor || i == 0) && !(word is 0 or 3 && ((before ^ damaged) & 0xF_FFFF_FFFF_FFC0) != 0 && !inDescriptor)
                    && !(inDescriptor && word != 0))
                {
                    damage.Add((at, before, damaged));
                    bench.Change(at, damaged);
                }
                else
                {
                    damage.Add(default);
                }
            }

            for (var i = 0; i < SmmuBench.Edus; i++)
            {
                var asked = bench.Ask(i, SmmuBench.Mailbox(i).Iova + 0x1000, run.Random.Next(2) == 0);
                // Bypass leads out of RAM.
                if (!asked.Ours.Reached || asked.Output >> 28 == 4 && bench.Ask(i, SmmuBench.Mailbox(i).Iova, !asked.Write).Ours.Reached)
                    cases.Add(asked);
            }

            bench.Judge(cases);
            foreach (var c in cases)
            {
                var (at, before, damaged) = inDescriptor ? damage[0] : damage[c.Number];
                run.Compare(c.Ours, c.Theirs, () => QemuDepartures.SmmuStructure(inDescriptor, at, before ^ damaged, c.Ours, c.Theirs),
                    () => $"{(inDescriptor ? "CD" : "STE")} word {at / 8 % 8} 0x{damaged:x} (was 0x{before:x})");
            }

            foreach (var (at, before, _) in damage)
            {
                if (at != 0)
                    bench.Change(at, before);
            }
        }

        run.Finish();
    }

    private static ulong Offset(SmmuStage second) => second.Bits == 36 ? 0x2_0000_0000 : SmmuBench.Offset;

    private void Run(string format, int config, int shortCases, int fullCases, Func<Random, Tables> make)
    {
        var run = new JudgeRun("QEMU SMMUv3", format, shortCases, fullCases);
        while (run.Cases < run.Goal)
        {
            using var tables = make(run.Random);
            bench.Publish();
            for (var batch = 0; batch < 12 && run.Cases < run.Goal; batch++)
                Batch(run, config, tables);
        }

        run.Finish();
    }

    private void Batch(JudgeRun run, int config, Tables tables)
    {
        var (address, before, damaged) = (0UL, 0UL, 0UL);
        if (run.Random.Next(3) == 0 && tables.Explain(tables.Mappings.Probe(tables.Bits)) is { Count: > 0 } steps)
        {
            var step = steps[run.Random.Next(steps.Count)];
            (address, before, damaged) = (step.EntryAddress, step.Entry, Mutation.Of(run.Random, step.Entry, 64));
            bench.Change(address, damaged);
        }

        List<SmmuCase> cases = [];
        for (var tries = 0; tries < 40 && cases.Count < SmmuBench.Edus; tries++)
        {
            var iova = tables.Mappings.Probe(tables.Bits);
            // Two accesses to one page would meet in QEMU's cache, where permission faults get lost.
            if (cases.Exists(c => c.Iova >> 30 == iova >> 30))
                continue;
            var write = run.Random.Next(2) == 0;
            var asked = bench.Ask(cases.Count, iova, write);
            if (asked.Ours.Reached && !(IsPage(asked.Output) && bench.Ask(cases.Count, SmmuBench.Mailbox(cases.Count).Iova, !write).Ours.Reached))
                continue;
            if (cases.Exists(c => c.Ours.Reached && asked.Ours.Reached && c.Output == asked.Output))
                continue;
            // What is behind a wrong pointer below 1 TiB is some device of QEMU's, or RAM that is not mirrored.
            if (asked.Ours is { Event: 0x0b, Address: < 1UL << 40 })
                continue;
            cases.Add(asked);
        }

        bench.Judge(cases);
        foreach (var c in cases)
        {
            run.Compare(c.Ours, c.Theirs, () => QemuDepartures.Smmu(config, c.Ours, c.Theirs, damaged),
                () => $"{(c.Write ? "write" : "read")} 0x{c.Iova:x} (ours 0x{c.Output:x}), {tables.Name}"
                    + (address == 0 ? "" : $", entry at 0x{address:x} 0x{damaged:x} (was 0x{before:x})"));
        }

        if (address != 0)
            bench.Change(address, before);
    }

    private static bool IsPage(ulong output) => Array.Exists(SmmuBench.Pages, range => output >= range.First && output < range.Last);

    private static void MapMailboxes<TFormat>(PageTable<TFormat> table, Func<ulong, ulong> output)
        where TFormat : struct, IPageTableFormat
    {
        for (var i = 0; i < SmmuBench.Edus; i++)
        {
            var (iova, physical) = SmmuBench.Mailbox(i);
            Assert.Equal(0, table.Map(iova, output(physical), 0x1_0000, FirstPermissions[1]));
        }
    }

    private void Descriptor(SmmuStage stage, ulong root)
    {
        bench.Memory.Write64(bench.Descriptor, stage.DescriptorWord(3));
        bench.Memory.Write64(bench.Descriptor + 8, root);
        bench.Memory.Write64(bench.Descriptor + 24, 0xFF);
    }

    private void Streams(ulong word0, ulong word2, ulong word3)
    {
        foreach (var edu in bench.Devices)
        {
            var at = bench.Stream(edu);
            bench.Memory.Write64(at, word0);
            bench.Memory.Write64(at + 8, 0xd5);
            bench.Memory.Write64(at + 16, word2);
            bench.Memory.Write64(at + 24, word3);
        }
    }

    private sealed class Undo(Action action) : IDisposable
    {
        public void Dispose() => action();
    }

    private sealed record Tables(IDisposable[] Owned, RandomMappings Mappings, int Bits, Func<ulong, IReadOnlyList<WalkStep>> Explain, string Name)
        : IDisposable
    {
        public void Dispose() => Array.ForEach(Owned, static table => table.Dispose());
    }
}
