using IommuFd.HwSim.Units;

namespace IommuFd.HwSim.Kernel;

/// <summary>The driver's side of one RISC-V IOMMU (struct riscv_iommu_device): device directory, PSCIDs, commands.</summary>
internal sealed partial class RiscvDriver
{
    private const int RingLg2 = 8;

    private readonly Lock _lock = new();
    private readonly PhysicalMemory _memory;
    private readonly ulong _directory;
    private readonly ulong _faults;
    private readonly Action<string>? _print;
    private readonly bool _isExtended;
    private readonly CommandRing _ring;
    private readonly HashSet<int> _pscids = [];

    internal RiscvDriver(RiscvIommuUnit unit, Action<string>? print = null)
    {
        Unit = unit;
        _print = print;
        _memory = unit.Memory;
        Capabilities = unit.ReadRegister(RiscvRegister.capabilities, 8);
        _isExtended = (Capabilities & 1 << 22) != 0;
        _directory = _memory.Allocate();
        _ring = new CommandRing(_memory, RingLg2);
        unit.WriteRegister(RiscvRegister.cqb, 8, _ring.Address >> 2 | (RingLg2 - 1));
        unit.WriteRegister(RiscvRegister.cqcsr, 4, 3);
        _faults = _memory.Allocate(RingLg2 + 5);
        EnableFaults();
        unit.WriteRegister(RiscvRegister.fqb, 8, _faults >> 2 | (RingLg2 - 1));
        unit.WriteRegister(RiscvRegister.fqcsr, 4, 3);
        // Three levels hold every requester id.
        unit.WriteRegister(RiscvRegister.ddtp, 8, _directory >> 2 | 4);
        Command(3, 0);
        Command(1, 0);
    }

    internal RiscvIommuUnit Unit { get; }

    internal ulong Capabilities { get; }

    /// <summary>Width of the widest first-stage mode.</summary>
    internal int AddressBits => (Capabilities & 1 << 11) != 0 ? 57 : (Capabilities & 1 << 10) != 0 ? 48 : 39;

    internal bool HasPbmt => (Capabilities & 1 << 15) != 0;

    internal int AllocPscid()
    {
        lock (_lock)
        {
            var id = 1;
            while (!_pscids.Add(id))
            {
                id++;
            }

            return id;
        }
    }

    internal void FreePscid(int id)
    {
        lock (_lock)
        {
            _pscids.Remove(id);
        }
    }

    /// <summary>Writes a device context: invalid first, then the new words, the valid bit last (riscv_iommu_iodir_update).</summary>
    /// <returns>False when there is no memory for the directory.</returns>
    internal bool SetContext(ushort device, bool isValid, ulong fsc, int pscid)
    {
        lock (_lock)
        {
            if (!TryFind(device, out var at))
            {
                return false;
            }

            _memory.Read64(at, out var tc);
            var did = 3 | (1UL << 33) | ((ulong)device << 40);
            if ((tc & 1) != 0)
            {
                _memory.Write64(at, tc & ~1UL);
                Command(did, 0);
            }

            _memory.Write64(at + 24, fsc);
            _memory.Write64(at + 16, (ulong)pscid << 12);
            _memory.Write64(at, isValid ? 1UL : 0);
            Command(did, 0);
            Command(2, 0);
            return true;
        }
    }

    /// <summary>IOTINVAL.VMA of a range by address, or of the whole PSCID when it is large.</summary>
    internal void InvalidatePages(int pscid, ulong first, ulong last)
    {
        var vma = 1 | ((ulong)pscid << 12) | (1UL << 32);
        if (last - first >= 64 * 4096)
        {
            Command(vma, 0);
        }
        else
        {
            for (var at = first & ~0xfffUL; at <= last && at >= (first & ~0xfffUL); at += 4096)
            {
                Command(vma | (1 << 10), at >> 2);
            }
        }

        Command(2, 0);
    }

    private bool TryFind(ushort device, out ulong at)
    {
        var leafBits = _isExtended ? 6 : 7;
        at = _directory;
        for (var level = 2; level > 0; level--)
        {
            var slot = at + ((ulong)(device >> (leafBits + (9 * (level - 1))) & 0x1ff) * 8);
            _memory.Read64(slot, out var entry);
            if ((entry & 1) == 0)
            {
                var table = _memory.Allocate();
                if (table == 0)
                {
                    return false;
                }

                entry = table >> 2 | 1;
                _memory.Write64(slot, entry);
            }

            at = (entry & ~0x3ffUL) << 2;
        }

        at += (ulong)(device & ((1 << leafBits) - 1)) * (_isExtended ? 64UL : 32UL);
        return true;
    }

    private void Command(ulong low, ulong high)
    {
        lock (_lock)
        {
            Unit.WriteRegister(RiscvRegister.cqt, 4, _ring.Put(low, high) & ((1u << RingLg2) - 1));
        }
    }
}
