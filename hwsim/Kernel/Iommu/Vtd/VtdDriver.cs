using System.Numerics;
using IommuFd.HwSim.Units;

namespace IommuFd.HwSim.Kernel;

/// <summary>The driver's side of one VT-d unit (struct intel_iommu): root and context tables, domain ids, invalidations.</summary>
internal sealed class VtdDriver
{
    // 0 is reserved by caching mode, 1 by first-stage tables.
    private const int FirstDomainId = 2;

    private readonly Lock _lock = new();
    private readonly PhysicalMemory _memory;
    private readonly ulong _root;
    private readonly HashSet<int> _domainIds = [];

    internal VtdDriver(VtdUnit unit)
    {
        Unit = unit;
        _memory = unit.Memory;
        Cap = unit.ReadRegister(VtdRegister.CAP, 8);
        Ecap = unit.ReadRegister(VtdRegister.ECAP, 8);
        _root = _memory.Allocate();
        unit.WriteRegister(VtdRegister.RTADDR, 8, _root);
        unit.WriteRegister(VtdRegister.GCMD, 4, 1u << 30);
        InvalidateContext(granularity: 1, 0, 0);
        InvalidateIoTlb(granularity: 1, 0, 0, 0);
        unit.WriteRegister(VtdRegister.GCMD, 4, 1u << 31);
    }

    internal VtdUnit Unit { get; }

    internal ulong Cap { get; }

    internal ulong Ecap { get; }

    /// <summary>CAP.CM: entries that become present must be invalidated too.</summary>
    internal bool HasCachingMode => (Cap & (1 << 7)) != 0;

    /// <summary>ECAP.SC.</summary>
    internal bool HasSnoopControl => (Ecap & (1 << 7)) != 0;

    /// <summary>CAP.SAGAW: bit n for tables of n + 2 levels.</summary>
    internal int Sagaw => (int)(Cap >> 8) & 0x1f;

    /// <summary>CAP.MGAW in bits.</summary>
    internal int Mgaw => (int)((Cap >> 16) & 0x3f) + 1;

    /// <summary>CAP.SLLPS: bit 0 for 2 MiB, bit 1 for 1 GiB.</summary>
    internal int LargePages => (int)(Cap >> 34) & 3;

    /// <summary>The smallest free id, as the kernel gives them.</summary>
    internal int AllocDomainId()
    {
        lock (_lock)
        {
            var id = FirstDomainId;
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

    /// <summary>Points a requester at a table (domain_context_mapping_one). Nothing happens when it has one.</summary>
    internal void SetContext(ushort requesterId, int domainId, ulong table, int addressWidth)
    {
        lock (_lock)
        {
            var rootEntry = _root + ((ulong)(requesterId >> 8) * 16);
            _memory.Read64(rootEntry, out var root);
            if ((root & 1) == 0)
            {
                root = _memory.Allocate() | 1;
                _memory.Write64(rootEntry, root);
            }

            var entry = (root & ~0xfffUL) + ((ulong)(requesterId & 0xff) * 16);
            _memory.Read64(entry, out var low);
            if ((low & 1) != 0)
            {
                return;
            }

            // The half with the present bit last.
            _memory.Write64(entry + 8, ((ulong)domainId << 8) | (uint)addressWidth);
            _memory.Write64(entry, table | 1);
            if (HasCachingMode)
            {
                // What was not there is cached under domain id 0.
                InvalidateContext(granularity: 3, 0, requesterId);
                InvalidateIoTlb(granularity: 2, domainId, 0, 0);
            }
        }
    }

    /// <summary>Takes a requester's table away: its DMA faults from now on (domain_context_clear).</summary>
    internal void ClearContext(ushort requesterId)
    {
        lock (_lock)
        {
            _memory.Read64(_root + ((ulong)(requesterId >> 8) * 16), out var root);
            if ((root & 1) == 0)
            {
                return;
            }

            var entry = (root & ~0xfffUL) + ((ulong)(requesterId & 0xff) * 16);
            _memory.Read64(entry + 8, out var high);
            _memory.Write64(entry, 0);
            _memory.Write64(entry + 8, 0);
            var domainId = (int)(high >> 8) & 0xffff;
            InvalidateContext(granularity: 3, domainId, requesterId);
            InvalidateIoTlb(granularity: 2, domainId, 0, 0);
        }
    }

    /// <summary>Invalidates the pages of a range, or the domain when the range is too large for one request (cache_tag_flush_range).</summary>
    internal void InvalidatePages(int domainId, ulong first, ulong last)
    {
        const int MostOrder = 18;
        first &= ~0xfffUL;
        var bits = 64 - BitOperations.LeadingZeroCount(first ^ last);
        var order = bits <= 12 ? 0 : bits - 12;
        if (order > MostOrder)
        {
            InvalidateIoTlb(granularity: 2, domainId, 0, 0);
            return;
        }

        InvalidateIoTlb(granularity: 3, domainId, order == 0 ? first : first & ~((1UL << bits) - 1), order);
    }

    private void InvalidateContext(int granularity, int domainId, ushort requesterId) =>
        Unit.WriteRegister(VtdRegister.CCMD, 8, (1UL << 63) | ((ulong)granularity << 61) | ((ulong)requesterId << 16) | (uint)domainId);

    private void InvalidateIoTlb(int granularity, int domainId, ulong address, int order)
    {
        lock (_lock)
        {
            Unit.WriteRegister(VtdRegister.IVA, 8, address | (uint)order);
            Unit.WriteRegister(VtdRegister.IOTLB, 8, (1UL << 63) | ((ulong)granularity << 60) | ((ulong)domainId << 32) | (3UL << 48));
        }
    }
}
