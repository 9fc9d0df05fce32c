using IommuFd.HwSim.Units;

namespace IommuFd.HwSim.Kernel;

/// <summary>A device context's words (section 2.1.3).</summary>
/// <param name="Control">tc.</param>
/// <param name="SecondStage">iohgatp.</param>
/// <param name="Attributes">ta.</param>
/// <param name="FirstStage">fsc: a first-stage table, or a process directory.</param>
internal readonly record struct RiscvDeviceContext(ulong Control, ulong SecondStage, ulong Attributes, ulong FirstStage);

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
    private readonly HashSet<int> _pscids = [], _gscids = [];

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

    /// <summary>Sv48x4 and the first stages to stand on it.</summary>
    internal bool HasSecondStage => (Capabilities & 1 << 18) != 0;

    /// <summary>PD20.</summary>
    internal bool HasDirectories => (Capabilities & 1UL << 40) != 0;

    internal bool HasPbmt => (Capabilities & 1 << 15) != 0;

    /// <summary>A tag of a first stage (PSCID) or, of another set, of a guest (GSCID).</summary>
    internal int AllocPscid() => Alloc(_pscids);

    internal void FreePscid(int id) => Free(_pscids, id);

    internal int AllocGscid() => Alloc(_gscids);

    internal void FreeGscid(int id) => Free(_gscids, id);

    /// <summary>Writes a device context: invalid first, then the new words, the valid bit last (riscv_iommu_iodir_update).</summary>
    /// <returns>False when there is no memory for the directory.</returns>
    internal bool SetContext(ushort device, bool isValid, ulong fsc, int pscid) =>
        SetContext(device, new RiscvDeviceContext(isValid ? 1UL : 0, 0, (ulong)pscid << 12, fsc));

    /// <summary>Writes a whole device context.</summary>
    internal bool SetContext(ushort device, in RiscvDeviceContext context)
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

            _memory.Write64(at + 24, context.FirstStage);
            _memory.Write64(at + 16, context.Attributes);
            _memory.Write64(at + 8, context.SecondStage);
            _memory.Write64(at, context.Control);
            Command(did, 0);
            Command(2, 0);
            return true;
        }
    }

    /// <summary>IODIR.INVAL_PDT: the process directory's entry of a PASID is read again.</summary>
    internal void InvalidateProcess(ushort device, uint pasid)
    {
        Command(3 | (1 << 7) | (1UL << 33) | ((ulong)device << 40) | ((ulong)pasid << 12), 0);
        Command(2, 0);
    }

    /// <summary>IODIR.INVAL_DDT: the context of a device and all of its processes are read again.</summary>
    internal void InvalidateDevice(ushort device)
    {
        Command(3 | (1UL << 33) | ((ulong)device << 40), 0);
        Command(2, 0);
    }

    /// <summary>IOTINVAL.GVMA: everything of a guest; IOTINVAL.VMA for its first stages alone.</summary>
    internal void InvalidateGuest(int gscid, bool firstStages)
    {
        Command(1 | (firstStages ? 0 : 1UL << 7) | (1UL << 33) | ((ulong)gscid << 44), 0);
        Command(2, 0);
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

    private void Free(HashSet<int> ids, int id)
    {
        lock (_lock)
        {
            ids.Remove(id);
        }
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
