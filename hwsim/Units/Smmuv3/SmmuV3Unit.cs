using IommuFd.HwSim.PageTables;

namespace IommuFd.HwSim.Units;

/// <summary>
/// An Arm SMMUv3: System Memory Management Unit Architecture Specification, version 3 (non-secure programming interface). Structures are read from
/// physical memory; software programs the unit through its registers and the command queue.
/// </summary>
/// <remarks>
/// Does not model: the secure and realm states, AArch32 tables, EL2 and EL2&amp;0 worlds (STRW other than 0), ATOS, VATOS, MPAM, split stage-2
/// address spaces, 52-bit addresses (IDR5.VAX), event merging (MEV), memory attributes and overrides (they have no effect on a model without caches),
/// global TLB entries (each ASID has its own). Unmodelled registers are noted in <see cref="RegisterFile.Unmodelled"/>.
/// </remarks>
public sealed partial class SmmuV3Unit : IommuUnit
{
    private const int ContextCacheSize = 4096;
    private readonly Lock _gate = new();
    private readonly SmmuOptions _options;
    private readonly IoTlb _ioTlb;
    private readonly SmmuContext?[] _contexts = new SmmuContext?[ContextCacheSize];
    private readonly ContextMemo<SmmuContext> _knownContexts = new(10);
    private volatile bool _enabled;
    private volatile bool _bypassAborts;

    /// <summary>A unit after reset: SMMUEN clear, DMA passes.</summary>
    /// <param name="memory">Physical memory.</param>
    /// <param name="options">What it offers; null for everything that is modelled.</param>
    public SmmuV3Unit(PhysicalMemory memory, SmmuOptions? options = null)
        : base(memory)
    {
        _options = options ?? new SmmuOptions();
        _ioTlb = new IoTlb(_options.IoTlbLg2);
        Registers = DeclareRegisters();
    }

    /// <summary>What the unit was made with.</summary>
    public SmmuOptions Options => _options;

    /// <summary>The translation cache, for tests and reports.</summary>
    public IoTlb IoTlb => _ioTlb;

    /// <inheritdoc/>
    protected override bool TryHit(ushort requesterId, uint pasid, ulong address, DmaAccess access, out ulong output, out int sizeLg2)
    {
        output = 0;
        sizeLg2 = 0;
        var context = _contexts[ContextIndex(requesterId, pasid)];
        return _enabled && context != null && context.StreamId == requesterId && context.Substream == pasid && !context.Abort && !ChecksStaleness
            && _ioTlb.TryHit(context.Space, address, access, out output, out sizeLg2);
    }

    /// <inheritdoc/>
    public override bool Translate(in DmaRequest request, out DmaTranslation translation)
    {
        translation = default;
        if (!_enabled)
        {
            translation = new DmaTranslation { Output = request.Address, SizeLg2 = 63,
                Allowed = DmaAccess.Read | DmaAccess.Write | DmaAccess.Execute };
            return !_bypassAborts;
        }

        // Before anything is looked up: what an invalidation overtakes from here on is not kept.
        var generation = _ioTlb.Generation;
        var context = _contexts[ContextIndex(request.RequesterId, request.Pasid)];
        if (context == null || context.StreamId != request.RequesterId || context.Substream != request.Pasid)
        {
            lock (_gate)
            {
                var fault = FindContext(request, out context);
                if (fault.Event != SmmuEvent.None)
                    return Refuse(request, fault, true, false, out translation);
                _contexts[ContextIndex(request.RequesterId, request.Pasid)] = context;
            }
        }

        if (context!.Abort)
            return false;
        if ((request.Access & (DmaAccess.Translated | DmaAccess.TranslationRequest)) != 0)
        {
            if (context.Ats == 0)
            {
                var code = (request.Access & DmaAccess.Translated) != 0 ? SmmuEvent.F_TRANSL_FORBIDDEN : SmmuEvent.F_BAD_ATS_TREQ;
                return Refuse(request, new SmmuFault(code), true, false, out translation);
            }

            if ((request.Access & DmaAccess.Translated) != 0 && context.Ats == 1)
            {
                translation = new DmaTranslation { Output = request.Address, SizeLg2 = 12,
                    Allowed = request.Access & (DmaAccess.Read | DmaAccess.Write) };
                return true;
            }
        }

        if ((request.Access & (DmaAccess.Privileged | DmaAccess.Translated)) == 0
            && _ioTlb.TryGet(context.Space, request.Address, out translation.Output, out translation.SizeLg2, out translation.Allowed)
            && (request.Access & (DmaAccess.Read | DmaAccess.Write | DmaAccess.Execute) & ~translation.Allowed) == 0)
        {
            if (ChecksStaleness)
                CheckStaleness(request, context, translation);
            return true;
        }

        var walked = Walk(request, context, true, out translation);
        if (walked.Event != SmmuEvent.None)
        {
            return walked.Stage2
                ? Refuse(request, walked, context.Stage2Records, context.Stage2Stalls, out translation)
                : Refuse(request, walked, context.Stage1Records, context.Stage1Stalls, out translation);
        }

        if ((request.Access & (DmaAccess.Privileged | DmaAccess.Translated)) == 0)
            _ioTlb.Add(context.Space, request.Address, translation.Output, translation.SizeLg2, translation.Allowed, generation);
        return true;
    }

    private SmmuFault Walk(in DmaRequest request, SmmuContext context, bool update, out DmaTranslation translation)
    {
        translation = new DmaTranslation { Output = request.Address, SizeLg2 = 63, Allowed = DmaAccess.Read | DmaAccess.Write | DmaAccess.Execute };
        if (context.Stage1 && (request.Access & DmaAccess.Translated) == 0)
        {
            var fault = WalkStage1(request, context, update, out var first);
            if (fault.Event != SmmuEvent.None)
                return fault;
            translation.Output = first.Output;
            translation.SizeLg2 = first.SizeLg2;
            translation.Allowed = Allowed(request, first.Attributes, context.Stage1Rules);
        }

        if (!context.Stage2)
            return translation.Output >> _options.OutputBits != 0 ? new SmmuFault(SmmuEvent.F_ADDR_SIZE) : default;
        var ipa = translation.Output;
        // Section 3.4: without stage 1 the input address is the intermediate one, and one above IAS (= OAS) is an address size fault of stage 1.
        if (!context.Stage1 && ipa >> _options.OutputBits != 0)
            return new SmmuFault(SmmuEvent.F_ADDR_SIZE);
        var access = ((WalkAccess)request.Access & (WalkAccess.Read | WalkAccess.Write | WalkAccess.Execute)) | Rules(context.Stage2Rules, update);
        if (!context.Stage2Table.Walk<ArmStage2>(ipa, access, out var second))
            return Stage2Fault(second, SmmuClass.Input, ipa);
        translation.Output = second.Output;
        translation.SizeLg2 = Math.Min(translation.SizeLg2, second.SizeLg2);
        translation.Allowed &= Allowed(request, second.Attributes, context.Stage2Rules);
        return default;
    }

    // Section 3.4.1: which half of the address space, and whether the address is in it.
    private static SmmuFault WalkStage1(in DmaRequest request, SmmuContext context, bool update, out WalkResult first)
    {
        first = default;
        var upper = (long)(request.Address << 8) < 0;
        if (!context.Region0.IgnoreTop && !context.Region1.IgnoreTop)
            upper = (long)request.Address < 0;
        var region = upper ? context.Region1 : context.Region0;
        var address = region.IgnoreTop ? (ulong)((long)(request.Address << 8) >> 8) : request.Address;
        var table = region.Table;
        if (table.Plan == null)
            return new SmmuFault(SmmuEvent.F_TRANSLATION);
        var inputBits = table.Plan.GeometryRef.InputBits;
        if ((upper ? ~address : address) >> inputBits != 0)
            return new SmmuFault(SmmuEvent.F_TRANSLATION);
        address &= (1UL << inputBits) - 1;

        var access = ((WalkAccess)request.Access & (WalkAccess.Read | WalkAccess.Write | WalkAccess.Execute)) | Rules(context.Stage1Rules, update);
        if (context.Privilege == 3 || (context.Privilege != 2 && (request.Access & DmaAccess.Privileged) != 0))
            access |= WalkAccess.Privileged;
        if (!context.Stage2)
        {
            var ok = region.Hierarchical
                ? table.Walk<ArmStage1>(address, access, out first)
                : table.Walk<ArmStage1Flat>(address, access, out first);
            return ok ? default : Stage1Fault(first);
        }

        var nested = new NestedTableReader<ArmStage2>(context.Stage2Table, Rules(context.Stage2Rules, update));
        var nestedOk = region.Hierarchical
            ? TableWalk.Walk<ArmStage1, NestedTableReader<ArmStage2>>(table.Plan, table.Root, ref nested, address, access, out first)
            : TableWalk.Walk<ArmStage1Flat, NestedTableReader<ArmStage2>>(table.Plan, table.Root, ref nested, address, access, out first);
        if (nestedOk)
            return default;
        return first.Fault == WalkFault.TableTranslation ? Stage2Fault(nested.Second, SmmuClass.Table, nested.Address) : Stage1Fault(first);
    }

    private static SmmuFault Stage1Fault(in WalkResult result) => result.Fault switch
    {
        WalkFault.TableOutsideMemory => new SmmuFault(SmmuEvent.F_WALK_EABT, SmmuClass.Table, false, result.EntryAddress),
        WalkFault.OutputTooWide or WalkFault.Misaligned => new SmmuFault(SmmuEvent.F_ADDR_SIZE),
        WalkFault.AccessFlag => new SmmuFault(SmmuEvent.F_ACCESS),
        WalkFault.Read or WalkFault.Write or WalkFault.Execute or WalkFault.Privilege => new SmmuFault(SmmuEvent.F_PERMISSION),
        _ => new SmmuFault(SmmuEvent.F_TRANSLATION),
    };

    private static SmmuFault Stage2Fault(in WalkResult result, SmmuClass kind, ulong ipa) => result.Fault switch
    {
        WalkFault.TableOutsideMemory => new SmmuFault(SmmuEvent.F_WALK_EABT, kind, true, result.EntryAddress), // the class is what the walk was for
        WalkFault.OutputTooWide or WalkFault.Misaligned => new SmmuFault(SmmuEvent.F_ADDR_SIZE, kind, true, ipa),
        WalkFault.AccessFlag => new SmmuFault(SmmuEvent.F_ACCESS, kind, true, ipa),
        WalkFault.Read or WalkFault.Write or WalkFault.Execute => new SmmuFault(SmmuEvent.F_PERMISSION, kind, true, ipa),
        _ => new SmmuFault(SmmuEvent.F_TRANSLATION, kind, true, ipa),
    };

    private static WalkAccess Rules(WalkAccess rules, bool update) => update ? rules : rules & ~WalkAccess.UpdateAccessedDirty;

    private static DmaAccess Allowed(in DmaRequest request, PageAttributes attributes, WalkAccess rules)
    {
        var allowed = (DmaAccess)attributes & (DmaAccess.Read | DmaAccess.Write | DmaAccess.Execute);
        // A page whose dirty state hardware keeps is cached for reads until it was written: the first write walks again and marks it.
        return (rules & WalkAccess.UpdateAccessedDirty) != 0 && (request.Access & DmaAccess.Write) == 0
            && (attributes & (PageAttributes.DirtyTracked | PageAttributes.Dirty)) == PageAttributes.DirtyTracked
                ? allowed & ~DmaAccess.Write
                : allowed;
    }

    private static int ContextIndex(ushort streamId, uint substream) => (int)(streamId ^ ((substream + 1) * 0x9E37)) & (ContextCacheSize - 1);

    private void CheckStaleness(in DmaRequest request, SmmuContext context, in DmaTranslation cached)
    {
        lock (_gate)
        {
            var found = FindContext(request, out var now);
            if (found.Event != SmmuEvent.None || now!.Space != context.Space || now.Stage2Table.Root != context.Stage2Table.Root
                || now.Region0 != context.Region0
                || now.Region1 != context.Region1)
            {
                ReportStale(new StaleUse(request, cached.Output, null, $"CMD_CFGI_STE of stream {request.RequesterId:x4}"
                    + (context.Stage1
                        ? $" or CMD_CFGI_CD of substream {(request.Pasid == DmaRequest.NoPasid ? 0 : request.Pasid):x}"
                        : string.Empty)));
                return;
            }

            var fault = Walk(request, now, false, out var fresh);
            if (fault.Event == SmmuEvent.None && fresh.Output == cached.Output)
                return;
            var missed = context.Stage1
                ? $"CMD_TLBI_NH_VA of ASID {context.Space & 0xFFFF:x}, VMID {context.Space >> 16 & 0xFFFF:x}"
                    + (context.Stage2 ? " or CMD_TLBI_S12_VMALL" : string.Empty)
                : $"CMD_TLBI_S2_IPA of VMID {context.Space >> 16 & 0xFFFF:x}";
            ReportStale(new StaleUse(request, cached.Output, fault.Event == SmmuEvent.None ? fresh.Output : null,
                $"{missed}, address 0x{request.Address & ~0xFFFUL:x}"));
        }
    }
}
