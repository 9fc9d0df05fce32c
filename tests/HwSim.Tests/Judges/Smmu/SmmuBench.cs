using HwSim.Tests.Judges.Qemu;
using IommuFd.HwSim;
using IommuFd.HwSim.Units;

namespace HwSim.Tests.Judges.Smmu;

/// <summary>
/// QEMU's SMMUv3 and ours on the same bytes at the same physical addresses, programmed with the same writes; eight edu devices ask at the same time.
/// </summary>
public sealed class SmmuBench : IDisposable
{
    internal const int Edus = 8;
    internal const ulong Offset = 0x20_0000_0000;
    private const ulong Ram = 0x4000_0000, Registers = 0x0905_0000;
    private readonly JudgeMachine _machine = JudgeMachine.Smmu(Edus);
    private readonly GuestMirror _mirror;
    private readonly SmmuV3Unit _unit;
    private readonly ulong _commands, _events, _streams;
    private uint _commandTail, _ourEvents, _theirEvents, _marker = 0x1000_0000;

    public SmmuBench()
    {
        Memory = GuestMirror.NewMemory(Ram, 44);
        _mirror = new GuestMirror(Qtest, Memory);
        _unit = new SmmuV3Unit(
            Memory, new SmmuOptions { OutputBits = 44, HardwareAccessedDirty = false, Stall = false, SubstreamBits = 0, Ats = false });
        _streams = Memory.Allocate(14);
        Descriptor = Memory.Allocate();
        _commands = Memory.Allocate();
        _events = Memory.Allocate(13);
        _mirror.Export();
        Register(0x80, 8, _streams | 1UL << 62);
        Register(0x88, 4, 8);
        Register(0x90, 8, _commands | 1UL << 62 | 8);
        Register(0xa0, 8, _events | 1UL << 62 | 8);
        Register(0x2c, 4, 2);
        Register(0x20, 4, 0xc);
        Invalidate();
        Register(0x20, 4, 0xd);
    }

    public PhysicalMemory Memory { get; }

    public IReadOnlyList<EduDriver> Devices => _machine.Edus;

    /// <summary>Where the context descriptor is.</summary>
    public ulong Descriptor { get; }

    /// <summary>Where the stream table entry of a device is.</summary>
    public ulong Stream(EduDriver edu) => _streams + ((ulong)edu.RequesterId * 64);

    /// <summary>RAM that pages may go to; the mailboxes and our arena are below.</summary>
    public static (ulong First, ulong Last)[] Pages => [(0x4400_0000, 0x1_3FFF_FFFF)];

    /// <summary>The IOVA and the physical address of a device's mailbox, 64 KiB apart.</summary>
    internal static (ulong Iova, ulong Physical) Mailbox(int number) => (0x7_1230_0000 + ((ulong)number << 16), 0x4300_0000 + ((ulong)number << 16));

    /// <summary>Makes what changed in memory known to QEMU's side and drops all caches.</summary>
    public void Publish()
    {
        _mirror.Export();
        Invalidate();
    }

    /// <summary>Changes a word on both sides.</summary>
    public void Change(ulong address, ulong value)
    {
        Memory.Write64(address, value);
        Qtest.Write(8, address, value);
        Invalidate();
    }

    /// <summary>Our answer to an access.</summary>
    public SmmuCase Ask(int number, ulong iova, bool write)
    {
        var edu = Devices[number];
        var ok = _unit.Translate(
            new DmaRequest(edu.RequesterId, DmaRequest.NoPasid, iova, write ? DmaAccess.Write : DmaAccess.Read), out var translation);
        var outcome = new SmmuOutcome(ok);
        if (!ok && _unit.ReadRegister(0x100a8, 4) != _ourEvents)
        {
            outcome = EventAt(_ourEvents, address => Memory.Read64(address, out var word) ? word : 0).Outcome;
            _ourEvents = (uint)_unit.ReadRegister(0x100a8, 4);
            _unit.WriteRegister(0x100ac, 4, _ourEvents);
        }

        return new SmmuCase(edu, number, iova, write, outcome, translation.Output);
    }

    /// <summary>QEMU's answers, all devices at the same time.</summary>
    public void Judge(IReadOnlyList<SmmuCase> cases)
    {
        Invalidate();
        foreach (var c in cases)
        {
            var mailbox = Mailbox(c.Number);
            if (!c.Ours.Reached)
            {
                c.Edu.Start(c.Iova, c.Write);
                continue;
            }

            c.Marker = ++_marker;
            Qtest.Write(4, c.Write ? mailbox.Physical : c.Output, c.Marker);
            Qtest.Write(4, c.Write ? c.Output : mailbox.Physical, 0);
            c.Edu.Start(c.Write ? mailbox.Iova : c.Iova, false);
        }

        Wait(cases);
        foreach (var c in cases)
        {
            if (c.Ours.Reached)
                c.Edu.Start(c.Write ? c.Iova : Mailbox(c.Number).Iova, true);
        }

        Wait(cases);
        foreach (var c in cases)
        {
            if (c.Ours.Reached)
                c.Answer = Qtest.Read(4, c.Write ? c.Output : Mailbox(c.Number).Physical);
        }

        var produced = Qtest.Read(4, Registers + 0x100a8);
        Qtest.Flush();
        var tail = (uint)Qtest[produced];
        foreach (var c in cases)
            c.Theirs = new SmmuOutcome(c.Ours.Reached && Qtest[c.Answer] == c.Marker);
        if (tail == _theirEvents)
            return;
        var block = Qtest.ReadBlock(_events, 256 * 32);
        for (; _theirEvents != tail; _theirEvents = (_theirEvents + 1) & 0x1FF)
        {
            var (outcome, stream) = EventAt(_theirEvents, address => BitConverter.ToUInt64(block, (int)(address - _events)));
            if (cases.FirstOrDefault(c => c.Edu.RequesterId == stream) is { Theirs.Event: 0 } one)
                one.Theirs = outcome;
        }

        Qtest.Write(4, Registers + 0x100ac, _theirEvents);
        Qtest.Flush();
    }

    public void Dispose()
    {
        Memory.Dispose();
        _machine.Dispose();
    }

    private QtestClient Qtest => _machine.Qtest;

    private void Wait(IReadOnlyList<SmmuCase> cases)
    {
        foreach (var c in cases)
            c.Edu.Wait();
    }

    private (SmmuOutcome Outcome, ushort Stream) EventAt(uint index, Func<ulong, ulong> read)
    {
        var at = _events + ((index & 0xFF) * 32);
        var first = read(at);
        return (SmmuOutcome.Of(first, read(at + 8), read(at + 16), read(at + 24)), (ushort)(first >> 32));
    }

    private void Invalidate()
    {
        Command(0x04, 31);  // CMD_CFGI_ALL
        Command(0x30, 0);   // CMD_TLBI_NSNH_ALL
        Command(0x46, 0);   // CMD_SYNC
        Register(0x98, 4, _commandTail);
    }

    private void Command(ulong low, ulong high)
    {
        var at = _commands + ((_commandTail & 0xFF) * 16);
        _commandTail = (_commandTail + 1) & 0x1FF;
        foreach (var (address, word) in new[] { (at, low), (at + 8, high) })
        {
            Memory.Write64(address, word);
            Qtest.Write(8, address, word);
        }
    }

    private void Register(int offset, int bytes, ulong value)
    {
        _unit.WriteRegister(offset, bytes, value);
        Qtest.Write(bytes, Registers + (ulong)offset, value);
    }
}
