using IommuFd.HwSim.PageTables;

namespace IommuFd.HwSim.Units;

/// <summary>
/// An AMD IOMMU: AMD I/O Virtualization Technology (IOMMU) Specification, revision 3. Device table, host (v1) and guest (v2) page tables are read
/// from physical memory; software programs the unit through its registers and the command buffer.
/// </summary>
/// <remarks>
/// Does not model: interrupt remapping and virtual APIC (messages pass), exclusion ranges, SEV-SNP, event counters, the hardware event registers,
/// device table segments, command buffer priorities, paging caches. Unmodelled registers are noted in <see cref="RegisterFile.Unmodelled"/>.
/// </remarks>
public sealed partial class AmdViUnit : IommuUnit
{
    private const int ContextCacheSize = 4096;
    private readonly Lock _gate = new();
    private readonly AmdOptions _options;
    private readonly IoTlb _ioTlb;
    private readonly AmdContext?[] _contexts = new AmdContext?[ContextCacheSize];
    private readonly ContextMemo<AmdContext> _knownContexts = new(5);
    private volatile bool _enabled;

    /// <summary>A unit after reset: IommuEn clear, DMA passes.</summary>
    /// <param name="memory">Physical memory.</param>
    /// <param name="options">What it offers; null for everything that is modelled.</param>
    public AmdViUnit(PhysicalMemory memory, AmdOptions? options = null)
        : base(memory)
    {
        _options = options ?? new AmdOptions();
        _ioTlb = new IoTlb(_options.IoTlbLg2);
        Registers = DeclareRegisters();
    }

    /// <summary>What the unit was made with.</summary>
    public AmdOptions Options => _options;

    /// <summary>The translation cache, for tests and reports.</summary>
    public IoTlb IoTlb => _ioTlb;

    /// <inheritdoc/>
    protected override bool TryHit(ushort requesterId, uint pasid, ulong address, DmaAccess access, out ulong output, out int sizeLg2)
    {
        output = 0;
        sizeLg2 = 0;
        var context = _contexts[ContextIndex(requesterId, pasid)];
        return _enabled && context != null && context.DeviceId == requesterId && context.Pasid == pasid && !context.Passes
            && !context.Blocks && !ChecksStaleness
            && _ioTlb.TryHit(context.Space, address, access, out output, out sizeLg2);
    }

    /// <inheritdoc/>
    public override bool Translate(in DmaRequest request, out DmaTranslation translation)
    {
        translation = new DmaTranslation { Output = request.Address, SizeLg2 = 63, Allowed = DmaAccess.Read | DmaAccess.Write | DmaAccess.Execute };
        if (!_enabled)
            return true;
        // Before anything is looked up: what an invalidation overtakes from here on is not kept.
        var generation = _ioTlb.Generation;
        var context = _contexts[ContextIndex(request.RequesterId, request.Pasid)];
        if (context == null || context.DeviceId != request.RequesterId || context.Pasid != request.Pasid)
        {
            lock (_gate)
            {
                var fault = FindContext(request, out context);
                if (fault.Event != AmdEvent.None)
                    return Refuse(request, fault, context, out translation);
                _contexts[ContextIndex(request.RequesterId, request.Pasid)] = context;
            }
        }

        if (context!.Passes)
            return true;
        if (context.Blocks)
            return Refuse(request, new AmdFault(AmdEvent.IO_PAGE_FAULT), context, out translation);
        if ((request.Access & (DmaAccess.Translated | DmaAccess.TranslationRequest)) != 0 && !context.DeviceTlb)
            return Refuse(request, new AmdFault(AmdEvent.INVALID_DEVICE_REQUEST), context, out translation);
        if ((request.Access & DmaAccess.Translated) != 0)
        {
            translation.SizeLg2 = 12;
            return true;
        }

        if ((request.Access & DmaAccess.Privileged) == 0
            && _ioTlb.TryGet(context.Space, request.Address, out translation.Output, out translation.SizeLg2, out translation.Allowed)
            && (request.Access & (DmaAccess.Read | DmaAccess.Write | DmaAccess.Execute) & ~translation.Allowed) == 0)
        {
            if (ChecksStaleness)
                CheckStaleness(request, context, translation);
            return true;
        }

        var walked = Walk(request, context, true, out translation);
        if (walked.Event != AmdEvent.None)
            return Refuse(request, walked, context, out translation);
        if ((request.Access & DmaAccess.Privileged) == 0)
            _ioTlb.Add(context.Space, request.Address, translation.Output, translation.SizeLg2, translation.Allowed, generation);
        return true;
    }

    private static AmdFault Walk(in DmaRequest request, AmdContext context, bool update, out DmaTranslation translation)
    {
        translation = new DmaTranslation { Output = request.Address, SizeLg2 = 30, Allowed = DmaAccess.Read | DmaAccess.Write | DmaAccess.Execute };
        var access = (WalkAccess)request.Access & (WalkAccess.Read | WalkAccess.Write | WalkAccess.Execute);
        if (context.Guest)
        {
            var guestAccess = access | (update ? WalkAccess.UpdateAccessedDirty : 0)
                | ((request.Access & DmaAccess.Privileged) != 0 ? WalkAccess.Privileged : 0);
            var fault = WalkGuest(request, context, guestAccess, update, out var guest);
            if (fault.Event != AmdEvent.None)
                return fault;
            translation.Output = guest.Output;
            translation.SizeLg2 = guest.SizeLg2;
            translation.Allowed = Allowed(request, guest.Attributes, true);
        }

        if (!context.Host)
        {
            translation.Allowed &= context.Guest ? DmaAccess.Read | DmaAccess.Write | DmaAccess.Execute : context.Permitted | DmaAccess.Execute;
            return (access & (WalkAccess)~(uint)translation.Allowed & (WalkAccess.Read | WalkAccess.Write)) == 0
                ? default : new AmdFault(AmdEvent.IO_PAGE_FAULT, AmdFault.Present | AmdFault.Permission);
        }

        var rules = update ? context.HostRules : 0;
        if (!context.HostTable.Walk<AmdV1>(translation.Output, access | rules, out var host))
            return PageFault(host);
        // IR and IW of the device table entry limit the page's.
        if ((access & (WalkAccess)~(uint)context.Permitted & (WalkAccess.Read | WalkAccess.Write)) != 0)
            return new AmdFault(AmdEvent.IO_PAGE_FAULT, AmdFault.Present | AmdFault.Permission);
        translation.Output = host.Output;
        translation.SizeLg2 = Math.Min(translation.SizeLg2, host.SizeLg2);
        translation.Allowed &= Allowed(request, host.Attributes, rules != 0) & (context.Permitted | DmaAccess.Execute);
        return default;
    }

    private static AmdFault WalkGuest(in DmaRequest request, AmdContext context, WalkAccess access, bool update, out WalkResult guest)
    {
        var table = context.GuestTable;
        if (!context.Host)
        {
            return table.Walk<X64>(request.Address, access, out guest) ? default : PageFault(guest);
        }

        var nested = new NestedTableReader<AmdV1>(context.HostTable, update ? context.HostRules : 0);
        if (TableWalk.Walk<X64, NestedTableReader<AmdV1>>(table.Plan!, table.Root, ref nested, request.Address, access, out guest))
            return default;
        return PageFault(guest.Fault == WalkFault.TableTranslation ? nested.Second : guest);
    }

    private static AmdFault PageFault(in WalkResult result) => result.Fault switch
    {
        WalkFault.TableOutsideMemory => new AmdFault(AmdEvent.PAGE_TAB_HARDWARE_ERROR, 0, result.EntryAddress),
        WalkFault.NotPresent or WalkFault.AddressTooWide => new AmdFault(AmdEvent.IO_PAGE_FAULT),
        WalkFault.Read or WalkFault.Write or WalkFault.Execute or WalkFault.Privilege =>
            new AmdFault(AmdEvent.IO_PAGE_FAULT, AmdFault.Present | AmdFault.Permission),
        _ => new AmdFault(AmdEvent.IO_PAGE_FAULT, AmdFault.Present | AmdFault.Reserved),
    };

    private static DmaAccess Allowed(in DmaRequest request, PageAttributes attributes, bool tracked)
    {
        var allowed = (DmaAccess)attributes & (DmaAccess.Read | DmaAccess.Write | DmaAccess.Execute);
        // While dirty bits are kept, a page that was only read is cached without its write permission: the first write walks again and sets the bit.
        return tracked && (request.Access & DmaAccess.Write) == 0 && (attributes & PageAttributes.Dirty) == 0 ? allowed & ~DmaAccess.Write : allowed;
    }

    private static int ContextIndex(ushort deviceId, uint pasid) => (int)(deviceId ^ ((pasid + 1) * 0x9E37)) & (ContextCacheSize - 1);

    private void CheckStaleness(in DmaRequest request, AmdContext context, in DmaTranslation cached)
    {
        lock (_gate)
        {
            var found = FindContext(request, out var now);
            if (found.Event != AmdEvent.None || now!.Space != context.Space || now.HostTable.Root != context.HostTable.Root
                || now.GuestTable.Root != context.GuestTable.Root
                || now.Host != context.Host || now.Guest != context.Guest || now.Permitted != context.Permitted)
            {
                ReportStale(new StaleUse(request, cached.Output, null, $"INVALIDATE_DEVTAB_ENTRY of device {request.RequesterId:x4}"));
                return;
            }

            var fault = Walk(request, now, false, out var fresh);
            if (fault.Event == AmdEvent.None && fresh.Output == cached.Output)
                return;
            var missed = $"INVALIDATE_IOMMU_PAGES of domain {context.DomainId}"
                + (context.Guest ? $", PASID {(context.Space >> 16 & 0x1F_FFFF) - 1}" : string.Empty) + $", address 0x{request.Address & ~0xFFFUL:x}";
            ReportStale(new StaleUse(request, cached.Output, fault.Event == AmdEvent.None ? fresh.Output : null, missed));
        }
    }
}
