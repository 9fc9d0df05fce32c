using HwSim.Tests.Judges.Qemu;
using IommuFd.HwSim;
using IommuFd.HwSim.PageTables;
using IommuFd.HwSim.Units;

namespace HwSim.Tests.Judges.Vtd;

/// <summary>How a request is translated.</summary>
public enum VtdMode
{
    Legacy,
    ScalableSecondStage,
    FirstStage,
}

/// <summary>QEMU's unit and ours on the same bytes at the same physical addresses, programmed alike.</summary>
public sealed class VtdBench : IDisposable
{
    internal const ushort Devfn = 0x18;
    internal const ulong Target = Mailbox + 4096;
    private const ulong Mailbox = 0x7_1234_5000;
    private const ulong MailboxPhysical = 0x300_0000;
    private static readonly (ulong First, ulong Last)[] Ram = [(0x400_0000, 0x7FFF_FFFF), (0x1_0000_0000, 0x1_7FFF_FFFF)];
    private static readonly PageAttributes[] SecondPermissions =
        [PageAttributes.Read, PageAttributes.Write, PageAttributes.Read | PageAttributes.Write];
    private static readonly PageAttributes[] FirstPermissions =
    [
        PageAttributes.Read | PageAttributes.User, PageAttributes.Read | PageAttributes.Write | PageAttributes.User,
        PageAttributes.Read | PageAttributes.Write, PageAttributes.Read | PageAttributes.Write | PageAttributes.User | PageAttributes.Execute,
    ];

    private readonly PhysicalMemory _memory = GuestMirror.NewMemory(0, 48);
    private readonly JudgeMachine _machine;
    private readonly GuestMirror _mirror;
    private readonly VtdMode _mode;
    private readonly OurVtd _ours;
    private readonly QemuVtd _theirs;
    private Func<ulong, WalkAccess, WalkResult> _walk = null!;

    public VtdBench(VtdMode mode)
    {
        _mode = mode;
        _machine = JudgeMachine.Vtd(
            mode switch { VtdMode.Legacy => "", VtdMode.ScalableSecondStage => ",x-scalable-mode=on", _ => ",x-scalable-mode=on,x-flts=on" });
        _mirror = new GuestMirror(_machine.Qtest, _memory);
        // The options are what QEMU's capability registers say.
        _ours = new OurVtd(new VtdUnit(_memory, new VtdOptions
        {
            ScalableMode = mode != VtdMode.Legacy,
            FirstStage = mode == VtdMode.FirstStage,
            SecondStage = mode != VtdMode.FirstStage,
            Nesting = false,
            SnoopControl = false,
            DeviceTlb = false,
            SecondStageDirty = false,
        }), mode == VtdMode.Legacy ? 0 : _memory.Allocate());
        _theirs = new QemuVtd(_machine);
        var root = _memory.Allocate();
        var contexts = _memory.Allocate();
        _memory.Write64(root, contexts | 1);
        Structures.Add(("root entry", root, 2));
        if (mode == VtdMode.Legacy)
        {
            Structures.Add(("context entry", contexts + (Devfn * 16), 2));
        }
        else
        {
            var directory = _memory.Allocate();
            var pasids = _memory.Allocate();
            _memory.Write64(contexts + (Devfn * 32), directory | 1);
            _memory.Write64(directory, pasids | 1);
            Structures.Add(("context entry", contexts + (Devfn * 32), 4));
            Structures.Add(("PASID directory entry", directory, 1));
            Structures.Add(("PASID table entry", pasids, 8));
        }

        _mirror.Export();
        _ours.Start(root | (mode == VtdMode.Legacy ? 0 : 1UL << 10));
        _theirs.Start(root | (mode == VtdMode.Legacy ? 0 : 1UL << 10));
    }

    /// <summary>The entries above the page tables: name, address, 64-bit words.</summary>
    internal List<(string Name, ulong Address, int Words)> Structures { get; } = [];

    internal RandomMappings Mappings { get; private set; } = null!;

    /// <summary>A table with random mappings, in use.</summary>
    internal PageTable<TFormat> NewTable<TFormat>(PageTableGeometry geometry, Random random)
        where TFormat : struct, IPageTableFormat
    {
        var table = new PageTable<TFormat>(_memory, geometry);
        table.Map(Mailbox, MailboxPhysical, 8192, PageAttributes.Read | PageAttributes.Write | PageAttributes.User);
        Mappings = new RandomMappings(random);
        Mappings.Fill(table, 40, Ram, _mode == VtdMode.FirstStage ? FirstPermissions : SecondPermissions);
        var width = geometry.InputBits == 39 ? 1UL : 2UL;
        var domain = (ulong)random.Next(1, 0x10000);
        var entry = Structures[^1].Address;
        switch (_mode)
        {
            case VtdMode.Legacy:
                _memory.Write64(entry, table.Root | 1);
                _memory.Write64(entry + 8, width | (domain << 8));
                break;
            case VtdMode.ScalableSecondStage:
                _memory.Write64(entry, table.Root | 1 | (width << 2) | (2 << 6));
                _memory.Write64(entry + 8, domain);
                break;
            default:
                // AW is not used by the first stage, but QEMU takes the width of addresses from it.
                _memory.Write64(entry, 1 | (2 << 2) | (1 << 6));
                _memory.Write64(entry + 8, domain);
                _memory.Write64(entry + 16, table.Root);
                break;
        }

        _walk = (iova, access) =>
        {
            table.Walker.Translate(iova, access, out var result);
            return result;
        };
        _mirror.Export();
        Invalidate();
        return table;
    }

    /// <summary>Asks both for one access and compares.</summary>
    internal void Ask(JudgeRun run, ulong iova, bool write, Func<string> describe)
    {
        // Damage can point a page at what is not RAM or at our tables, a table at memory that is not mirrored, and can take the mailbox away.
        var walk = _walk(iova, WalkAccess.None);
        if ((walk.Ok && !IsRam(walk.Output)) || (walk.Fault == WalkFault.TableOutsideMemory && walk.EntryAddress < 0x1_8000_0000)
            || !_walk(Mailbox, write ? WalkAccess.Read : WalkAccess.Write).Ok)
            return;
        var ours = _ours.Access(Devfn, iova, write, out var output);
        if (ours.Reached && !IsRam(output))
            return;
        if (ours.Reached)
            _ours.Access(Devfn, Mailbox, !write, out _); // what the number is carried with
        var theirs = _theirs.Access(_machine.Edus[0], iova, write, ours.Reached, output, (Mailbox, MailboxPhysical));
        run.Compare(ours, theirs, () => QemuDepartures.Vtd(_mode, ours, theirs),
            () => $"{(write ? "write" : "read")} 0x{iova:x} (ours 0x{output:x}), {describe()}");
    }

    private static bool IsRam(ulong output) =>
        Array.Exists(Ram, r => output >= r.First && output < r.Last) || output >> 13 == MailboxPhysical >> 13;

    /// <summary>Changes a word on both sides; returns what was there.</summary>
    internal ulong Change(ulong address, ulong value)
    {
        _memory.Read64(address, out var before);
        _memory.Write64(address, value);
        _machine.Qtest.Write(8, address, value);
        Invalidate();
        return before;
    }

    internal ulong Word(ulong address) => _memory.Read64(address, out var value) ? value : 0;

    /// <summary>Compares all tables, accessed and dirty bits included.</summary>
    internal void CompareTables(JudgeRun run)
    {
        var differences = _mirror.Differences();
        if (differences.Count == 0)
            run.Compare(0, 0, () => null, () => "");
        foreach (var (address, ours, theirs) in differences)
            run.Compare(ours, theirs, () => QemuDepartures.VtdEntry(ours, theirs),
                () => $"the word at 0x{address:x}, 0x{ours:x} and 0x{theirs:x}, after the accesses");
    }

    public void Dispose()
    {
        _memory.Dispose();
        _machine.Dispose();
    }

    private void Invalidate()
    {
        _ours.Invalidate();
        _theirs.Invalidate();
    }
}
