using IommuFd.HwSim.Units;
using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>The driver's side of one SMMUv3 (struct arm_smmu_device): stream table, context descriptors, ASIDs and VMIDs, commands.</summary>
internal sealed partial class SmmuDriver
{
    private const int RingLg2 = 8, Split = 8;
    private const ulong SpanOfSecondLevel = Split + 1;

    private readonly Lock _lock = new();
    private readonly PhysicalMemory _memory;
    private readonly ulong _streamTable;
    private readonly Action<string>? _print;
    private readonly CommandRing _ring;
    private readonly HashSet<int> _asids = [];
    private readonly HashSet<int> _vmids = [];

    internal SmmuDriver(SmmuV3Unit unit, Action<string>? print = null)
    {
        _print = print;
        Unit = unit;
        _memory = unit.Memory;
        Idr0 = Read(SmmuRegister.IDR0);
        Idr1 = Read(SmmuRegister.IDR1);
        Idr5 = Read(SmmuRegister.IDR5);
        _streamTable = _memory.Allocate();
        _ring = new CommandRing(_memory, RingLg2);
        unit.WriteRegister(SmmuRegister.CR2, 4, 2);
        unit.WriteRegister(SmmuRegister.STRTAB_BASE, 8, _streamTable | 1UL << 62);
        unit.WriteRegister(SmmuRegister.STRTAB_BASE_CFG, 4, (1 << 16) | (Split << 6) | 16);
        unit.WriteRegister(SmmuRegister.CMDQ_BASE, 8, _ring.Address | 1UL << 62 | RingLg2);
        unit.WriteRegister(SmmuRegister.CR0, 4, 8);
        Command(0x04, 31);
        Command(0x30, 0);
        Command(0x46, 0);
        _events = _memory.Allocate(RingLg2 + 5);
        unit.WriteRegister(SmmuRegister.EVENTQ_BASE, 8, _events | 1UL << 62 | RingLg2);
        unit.Interrupts = this;
        unit.WriteRegister(SmmuRegister.EVENTQ_IRQ_CFG0, 8, EventMessage);
        unit.WriteRegister(SmmuRegister.IRQ_CTRL, 4, 4);
        unit.WriteRegister(SmmuRegister.CR0, 4, 0xc);
        unit.WriteRegister(SmmuRegister.CR0, 4, 0xd);
    }

    internal SmmuV3Unit Unit { get; }

    internal uint Idr0 { get; }

    internal uint Idr1 { get; }

    internal uint Idr5 { get; }

    internal bool HasStage1 => (Idr0 & 2) != 0;

    internal bool HasStage2 => (Idr0 & 1) != 0;

    /// <summary>IDR0.HTTU: access flag and dirty state are kept by hardware.</summary>
    internal bool HasDirtyTracking => (Idr0 >> 6 & 3) == 2;

    /// <summary>IDR0.COHACC.</summary>
    internal bool IsCoherent => (Idr0 & 1 << 4) != 0;

    /// <summary>IDR5.OAS in bits.</summary>
    internal int OutputBits => (Idr5 & 7) switch { 0 => 32, 1 => 36, 2 => 40, 3 => 42, 4 => 44, _ => 48 };

    /// <summary>IDR1.SSIDSIZE.</summary>
    internal int SubstreamBits => (int)(Idr1 >> 6 & 31);

    internal uint Read(int register) => (uint)Unit.ReadRegister(register, 4);

    internal int AllocAsid() => Alloc(_asids);

    internal int AllocVmid() => Alloc(_vmids);

    internal void FreeAsid(int id) => Release(_asids, id);

    internal void FreeVmid(int id) => Release(_vmids, id);

    /// <summary>Writes a stream table entry and has it read again. Word 0 is written last.</summary>
    /// <returns>0, or -ENOMEM when there is no memory for the table.</returns>
    internal int SetStream(ushort stream, ReadOnlySpan<ulong> words)
    {
        lock (_lock)
        {
            var slot = _streamTable + ((ulong)(stream >> Split) * 8);
            _memory.Read64(slot, out var second);
            if ((second & 31) == 0)
            {
                // A table of aborting entries: valid, configuration 0.
                second = _memory.Allocate(Split + 6);
                if (second == 0)
                {
                    return -Errno.ENOMEM;
                }

                for (ulong i = 0; i < 1 << Split; i++)
                {
                    _memory.Write64(second + (i * 64), 1);
                }

                second |= SpanOfSecondLevel;
                _memory.Write64(slot, second);
            }

            var at = (second & ~63UL) + ((ulong)(stream & ((1 << Split) - 1)) * 64);
            for (var i = words.Length - 1; i >= 0; i--)
            {
                _memory.Write64(at + ((ulong)i * 8), words[i]);
            }

            Command(0x03 | ((ulong)stream << 32), 1);
            Command(0x46, 0);
            return 0;
        }
    }

    /// <summary>CFGI_CD: one context descriptor is read again.</summary>
    internal void InvalidateDescriptor(ushort stream, uint substream)
    {
        Command(0x05 | ((ulong)substream << 12) | ((ulong)stream << 32), 1);
        Command(0x46, 0);
    }

    /// <summary>TLBI_NH_ASID.</summary>
    internal void InvalidateAsid(int asid)
    {
        Command(0x11 | ((ulong)asid << 48), 0);
        Command(0x46, 0);
    }

    /// <summary>TLBI_S12_VMALL.</summary>
    internal void InvalidateVmid(int vmid)
    {
        Command(0x28 | ((ulong)vmid << 32), 0);
        Command(0x46, 0);
    }

    /// <summary>Invalidates a range of 4 KiB pages by range commands: each takes up to 31 times a power of two.</summary>
    internal void InvalidatePages(ulong command, ulong first, ulong last)
    {
        var pages = ((last - first) >> 12) + 1;
        for (var at = first; pages != 0;)
        {
            var scale = (int)ulong.TrailingZeroCount(pages);
            var number = pages >> scale & 31;
            Command(command | ((number - 1) << 12) | ((ulong)scale << 20), at | (1 << 10));
            at += number << scale << 12;
            pages -= number << scale;
        }

        Command(0x46, 0);
    }

    /// <summary>Issues a batch of commands of a guest and waits for them.</summary>
    internal void Issue(List<(ulong Low, ulong High)> commands)
    {
        foreach (var (low, high) in commands)
        {
            Command(low, high);
        }

        Command(0x46, 0);
    }

    private void Command(ulong low, ulong high)
    {
        lock (_lock)
        {
            Unit.WriteRegister(SmmuRegister.CMDQ_PROD, 4, _ring.Put(low, high) & ((2u << RingLg2) - 1));
        }
    }

    private int Alloc(HashSet<int> ids)
    {
        lock (_lock)
        {
            var id = 1;
            while (!ids.Add(id))
            {
                id++;
            }

            return id;
        }
    }

    private void Release(HashSet<int> ids, int id)
    {
        lock (_lock)
        {
            ids.Remove(id);
        }
    }
}
