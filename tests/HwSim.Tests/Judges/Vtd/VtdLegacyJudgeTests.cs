using HwSim.Tests.Judges.Qemu;
using IommuFd.HwSim;
using IommuFd.HwSim.PageTables;
using IommuFd.HwSim.Units;
using Xunit;

namespace HwSim.Tests.Judges.Vtd;

/// <summary>QEMU's VT-d walks tables that hwsim built, in legacy mode: data, faults and fault reasons are those of our unit.</summary>
public class VtdLegacyJudgeTests
{
    private static readonly (ulong, ulong)[] Ram = [(0x400_0000, 0x7FFF_FFFF), (0x1_0000_0000, 0x1_7FFF_FFFF)];
    private static readonly PageAttributes[] Permissions = [PageAttributes.Read, PageAttributes.Write, PageAttributes.Read | PageAttributes.Write];

    [Fact]
    public void Second_stage_tables_are_walked_alike()
    {
        var run = new JudgeRun("QEMU VT-d", "vtd-ss (legacy mode)", 300, 6000);
        using var machine = JudgeMachine.Vtd();
        using var bench = new Bench(machine);
        while (run.Cases < run.Goal)
        {
            var width = run.Random.Next(2) == 0 ? 39 : 48;
            using var table = bench.NewTable(width, run.Random);
            for (var i = 0; i < 60 && run.Cases < run.Goal; i++)
                bench.Ask(run, bench.Mappings.Probe(width), run.Random.Next(2) == 0, () => $"{width} bits");
        }

        run.Finish();
    }

    private sealed class Bench : IDisposable
    {
        private const ushort Devfn = 0x18;
        private const ulong Mailbox = 0x7_1234_5000, MailboxPhysical = 0x300_0000;
        private readonly PhysicalMemory _memory = GuestMirror.NewMemory(0, 48);
        private readonly JudgeMachine _machine;
        private readonly GuestMirror _mirror;
        private readonly OurVtd _ours;
        private readonly QemuVtd _theirs;

        internal Bench(JudgeMachine machine)
        {
            _machine = machine;
            _mirror = new GuestMirror(machine.Qtest, _memory);
            _ours = new OurVtd(new VtdUnit(_memory, new VtdOptions { ScalableMode = false, SnoopControl = false, DeviceTlb = false }));
            _theirs = new QemuVtd(machine);
            RootTable = _memory.Allocate();
            ContextTable = _memory.Allocate();
            _memory.Write64(RootTable, ContextTable | 1);
            _mirror.Export();
            _ours.Start(RootTable);
            _theirs.Start(RootTable);
        }

        internal ulong RootTable { get; }

        internal ulong ContextTable { get; }

        internal RandomMappings Mappings { get; private set; } = null!;

        internal PageTable<VtdSecondStage> NewTable(int width, Random random)
        {
            var table = new PageTable<VtdSecondStage>(_memory, VtdSecondStage.Geometry(width, 48));
            table.Map(Mailbox, MailboxPhysical, 4096, PageAttributes.Read | PageAttributes.Write);
            Mappings = new RandomMappings(random);
            Mappings.Fill(table, 40, Ram, Permissions);
            SetContext(table.Root | 1, (width == 39 ? 1UL : 2UL) | ((ulong)random.Next(1, 0x10000) << 8));
            return table;
        }

        internal void SetContext(ulong low, ulong high)
        {
            _memory.Write64(ContextTable + (Devfn * 16), low);
            _memory.Write64(ContextTable + (Devfn * 16) + 8, high);
            Publish();
        }

        // What changed in memory reaches the guest, and both units forget what they cached.
        internal void Publish()
        {
            _mirror.Export();
            _ours.Invalidate();
            _theirs.Invalidate();
        }

        internal void Ask(JudgeRun run, ulong iova, bool write, Func<string> describe)
        {
            var ours = _ours.Access(Devfn, iova, write, out var output);
            var theirs = _theirs.Access(_machine.Edus[0], iova, write, ours.Reached, output, (Mailbox, MailboxPhysical));
            run.Compare(ours, theirs, () => null, () => $"{(write ? "write" : "read")} 0x{iova:x} (ours 0x{output:x}), {describe()}");
        }

        public void Dispose() => _memory.Dispose();
    }
}
