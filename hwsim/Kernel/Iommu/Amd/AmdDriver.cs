using System.Numerics;
using IommuFd.HwSim.Units;

namespace IommuFd.HwSim.Kernel;

/// <summary>The driver's side of one AMD IOMMU (struct amd_iommu): device table, domain ids, commands.</summary>
internal sealed partial class AmdDriver
{
    internal const ulong Valid = 3, ReadWrite = 3UL << 61, HostAccessedDirty = 3UL << 7, GuestValid = 1UL << 55, GuestIo = 1UL << 54;

    // The driver's command buffer has 512 entries.
    private const int RingLg2 = 9;

    private readonly Lock _lock = new();
    private readonly PhysicalMemory _memory;
    private readonly ulong _deviceTable;
    private readonly ulong _events;
    private readonly Action<string>? _print;
    private readonly CommandRing _ring;
    private readonly HashSet<int> _domainIds = [];

    internal AmdDriver(AmdViUnit unit, Action<string>? print = null)
    {
        Unit = unit;
        _print = print;
        _memory = unit.Memory;
        Features = unit.ReadRegister(AmdRegister.EXT_FEATURES, 8);
        _deviceTable = _memory.Allocate(21);
        _ring = new CommandRing(_memory, RingLg2);
        for (uint device = 0; device < 1 << 16; device++)
        {
            // Valid and without permissions: a device reaches nothing before it is attached.
            _memory.Write64(_deviceTable + (device * 32UL), Valid);
        }

        unit.WriteRegister(AmdRegister.DEV_TAB_BASE, 8, _deviceTable | 0x1ff);
        unit.WriteRegister(AmdRegister.CMD_BUF_BASE, 8, _ring.Address | ((ulong)RingLg2 << 56));
        _events = _memory.Allocate(13);
        unit.Interrupts = this;
        unit.WriteRegister(AmdRegister.MSI_ADDR_LO, 4, EventMessage);
        unit.WriteRegister(AmdRegister.EVT_LOG_BASE, 8, _events | ((ulong)RingLg2 << 56));
        unit.WriteRegister(AmdRegister.CONTROL, 8, 1 | (1 << 2) | (1 << 3) | (1 << 12) | ((Features >> 4 & 1) << 16));
        Command(8UL << 60, 0);
    }

    internal AmdViUnit Unit { get; }

    /// <summary>The extended feature register.</summary>
    internal ulong Features { get; }

    internal bool HasDirtyTracking => (Features & 1UL << 52) != 0;

    internal bool HasGuestTranslation => (Features & 1UL << 4) != 0;

    /// <summary>Width of a host IOVA: HATS gives 4, 5 or 6 levels.</summary>
    internal int HostBits => Math.Min(64, 12 + (9 * ((int)(Features >> 10 & 3) + 4)));

    internal bool HasGuestLevel5 => (Features >> 12 & 3) != 0;

    /// <summary>Levels of the GCR3 table.</summary>
    internal int GcrLevels => (int)(Features >> 14 & 3) + 1;

    internal int AllocDomainId()
    {
        lock (_lock)
        {
            var id = 1;
            while (!_domainIds.Add(id))
            {
                id++;
            }

            return id;
        }
    }

    internal void FreeDomainId(int id)
    {
        lock (_lock)
        {
            _domainIds.Remove(id);
        }
    }

    /// <summary>Writes a device table entry and has it read again (amd_iommu_update_dte).</summary>
    internal void SetEntry(ushort device, ulong word0, ulong word1, ulong word2)
    {
        lock (_lock)
        {
            var at = _deviceTable + (device * 32UL);
            // The half with the valid bit last.
            _memory.Write64(at + 16, word2);
            _memory.Write64(at + 8, word1);
            _memory.Write64(at, word0);
            Command((2UL << 60) | device, 0);
        }
    }

    /// <summary>INVALIDATE_DEVTAB_ENTRY: the unit reads the entry and the GCR3 table behind it again.</summary>
    internal void InvalidateEntry(ushort device) => Command((2UL << 60) | device, 0);

    /// <summary>INVALIDATE_IOMMU_PAGES of a range, in one command: the smallest naturally aligned power of two that holds it.</summary>
    internal void InvalidatePages(int domainId, uint? pasid, ulong first, ulong last)
    {
        var low = (3UL << 60) | ((ulong)domainId << 32) | (pasid ?? 0);
        var high = first & ~0xfffUL;
        var bits = 64 - BitOperations.LeadingZeroCount(first ^ last);
        if (bits > 51)
        {
            high = 0x7ffffffffffff000 | 1;
        }
        else if (bits > 12)
        {
            // All address bits below the size's top bit are ones, that one is zero.
            high = (first & ~((1UL << bits) - 1)) | (((1UL << (bits - 1)) - 1) & ~0xfffUL) | 1;
        }

        Command(low, high | (pasid == null ? 0 : 4UL));
    }

    private void Command(ulong low, ulong high)
    {
        lock (_lock)
        {
            Unit.WriteRegister(AmdRegister.CMD_TAIL, 8, (_ring.Put(low, high) & ((1u << RingLg2) - 1)) * 16);
        }
    }
}
