using System.Numerics;
using IommuFd.HwSim.Units;

namespace IommuFd.HwSim.Kernel;

/// <summary>The driver's side of one VT-d unit (struct intel_iommu): bring-up, domain ids, and what is common to legacy and scalable mode.</summary>
internal sealed partial class VtdDriver : IInterruptController
{
    // 0 is reserved by caching mode, 1 by first-stage tables.
    private const int FirstDomainId = 2;

    private readonly Lock _lock = new();
    private readonly PhysicalMemory _memory;
    private readonly ulong _root;
    private readonly Action<string>? _print;
    private readonly HashSet<int> _domainIds = [];

    internal VtdDriver(VtdUnit unit, bool scalable, Action<string>? print = null)
    {
        Unit = unit;
        _print = print;
        _memory = unit.Memory;
        Cap = unit.ReadRegister(VtdRegister.CAP, 8);
        Ecap = unit.ReadRegister(VtdRegister.ECAP, 8);
        IsScalable = scalable && (Ecap & (1UL << 43)) != 0;
        _root = _memory.Allocate();
        unit.WriteRegister(VtdRegister.RTADDR, 8, _root | (IsScalable ? 1UL << 10 : 0));
        unit.WriteRegister(VtdRegister.GCMD, 4, 1u << 30);
        var enable = 1u << 31;
        if (IsScalable)
        {
            // The PASID cache can be invalidated through the queue only.
            _queue = _memory.Allocate();
            unit.WriteRegister(VtdRegister.IQA, 8, _queue | (1UL << 11));
            unit.WriteRegister(VtdRegister.IQT, 8, 0);
            unit.WriteRegister(VtdRegister.GCMD, 4, 1u << 26);
            enable |= 1u << 26;
            Submit(PasidCacheDescriptor | (3UL << 4), 0);
            if (HasPageRequests)
            {
                EnablePageRequests(out _pageRequests);
            }
        }

        InvalidateContext(granularity: 1, 0, 0);
        InvalidateIoTlb(granularity: 1, 0, 0, 0);
        EnableFaults();
        unit.WriteRegister(VtdRegister.GCMD, 4, enable);
    }

    internal VtdUnit Unit { get; }

    internal ulong Cap { get; }

    internal ulong Ecap { get; }

    /// <summary>True when tables of PASIDs are used (ECAP.SMTS, and not switched off).</summary>
    internal bool IsScalable { get; }

    /// <summary>CAP.CM: entries that become present must be invalidated too.</summary>
    internal bool HasCachingMode => (Cap & (1 << 7)) != 0;

    /// <summary>ECAP.SC.</summary>
    internal bool HasSnoopControl => (Ecap & (1 << 7)) != 0;

    /// <summary>ECAP.NEST in scalable mode.</summary>
    internal bool HasNesting => IsScalable && (Ecap & (1UL << 26)) != 0;

    /// <summary>ECAP.PASID in scalable mode.</summary>
    internal bool HasPasids => IsScalable && (Ecap & (1UL << 40)) != 0;

    /// <summary>2^(ECAP.PSS + 1) in scalable mode, 0 without PASIDs.</summary>
    internal uint MaxPasids => HasPasids ? 2u << ((int)(Ecap >> 35) & 0x1f) : 0;

    /// <summary>ECAP.DT; the driver switches ATS on by itself in scalable mode only.</summary>
    internal bool HasDeviceTlb => IsScalable && (Ecap & (1 << 2)) != 0;

    /// <summary>ECAP.PRS with ECAP.PDS.</summary>
    internal bool HasPageRequests => HasDeviceTlb && (Ecap & (1UL << 29)) != 0 && (Ecap & (1UL << 42)) != 0;

    /// <summary>ECAP.SSADS in scalable mode.</summary>
    internal bool HasDirtyTracking => IsScalable && (Ecap & (1UL << 45)) != 0;

    /// <summary>ECAP.SSTS; legacy mode always has it.</summary>
    internal bool HasSecondStage => !IsScalable || (Ecap & (1UL << 46)) != 0;

    /// <summary>ECAP.FSTS in scalable mode.</summary>
    internal bool HasFirstStage => IsScalable && (Ecap & (1UL << 47)) != 0;

    /// <summary>ECAP.SRS.</summary>
    internal bool HasSupervisor => (Ecap & (1UL << 31)) != 0;

    /// <summary>CAP.FS1GP.</summary>
    internal bool HasFirstStage1G => (Cap & (1UL << 56)) != 0;

    /// <summary>CAP.FS5LP.</summary>
    internal bool HasFirstStage5 => (Cap & (1UL << 60)) != 0;

    /// <summary>CAP.SAGAW: bit n for tables of n + 2 levels.</summary>
    internal int Sagaw => (int)(Cap >> 8) & 0x1f;

    /// <summary>CAP.MGAW in bits.</summary>
    internal int Mgaw => (int)((Cap >> 16) & 0x3f) + 1;

    /// <summary>Second-stage page sizes: 4 KiB and what CAP.SLLPS offers.</summary>
    internal ulong SecondStagePages => 0x1000 | (((Cap >> 34) & 1) << 21) | (((Cap >> 35) & 1) << 30);

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

    /// <summary>Invalidates the pages of a range, or the domain when the range is too large for one request (cache_tag_flush_range).</summary>
    internal void InvalidatePages(int domainId, ulong first, ulong last)
    {
        const int MostOrder = 18;
        var order = Align(ref first, last);
        if (order > MostOrder)
        {
            InvalidateIoTlb(granularity: 2, domainId, 0, 0);
            return;
        }

        InvalidateIoTlb(granularity: 3, domainId, first, order);
    }

    // calculate_psi_aligned_address: the naturally aligned block that holds a range, as the log2 of its pages.
    private static int Align(ref ulong first, ulong last)
    {
        first &= ~0xfffUL;
        var bits = 64 - BitOperations.LeadingZeroCount(first ^ last);
        if (bits <= 12)
        {
            return 0;
        }

        first = bits == 64 ? 0 : first & ~((1UL << bits) - 1);
        return bits - 12;
    }

    private void InvalidateContext(int granularity, int domainId, ushort requesterId)
    {
        if (IsScalable)
        {
            Submit(1 | ((ulong)granularity << 4) | ((ulong)domainId << 16) | ((ulong)requesterId << 32), 0);
            return;
        }

        Unit.WriteRegister(VtdRegister.CCMD, 8, (1UL << 63) | ((ulong)granularity << 61) | ((ulong)requesterId << 16) | (uint)domainId);
    }

    private void InvalidateIoTlb(int granularity, int domainId, ulong address, int order)
    {
        lock (_lock)
        {
            if (IsScalable)
            {
                Submit(2 | ((ulong)granularity << 4) | (3 << 6) | ((ulong)domainId << 16), address | (uint)order);
                return;
            }

            Unit.WriteRegister(VtdRegister.IVA, 8, address | (uint)order);
            Unit.WriteRegister(VtdRegister.IOTLB, 8, (1UL << 63) | ((ulong)granularity << 60) | ((ulong)domainId << 32) | (3UL << 48));
        }
    }
}
