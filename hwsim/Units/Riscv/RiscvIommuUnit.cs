using IommuFd.HwSim.PageTables;

namespace IommuFd.HwSim.Units;

/// <summary>
/// A RISC-V IOMMU: RISC-V IOMMU Architecture Specification 1.0. Directories and tables are read from physical memory; software programs the unit
/// through its registers and the command queue.
/// </summary>
/// <remarks>
/// Does not model: big-endian structures (capabilities.END = 0), performance counters (HPM = 0), QoS identifiers, command timeouts, data corruption
/// causes, wired interrupts (fctl.WSI is read-only 0), non-leaf invalidation (NL = 0). Device ids have 16 bits here, as PCI requester ids without a
/// segment.
/// </remarks>
public sealed partial class RiscvIommuUnit : IommuUnit
{
    private const int ContextCacheSize = 4096;
    private readonly Lock _gate = new();
    private readonly RiscvOptions _options;
    private readonly IoTlb _ioTlb;
    private readonly RiscvContext?[] _contexts = new RiscvContext?[ContextCacheSize];
    private readonly ContextMemo<RiscvContext> _knownContexts = new(11);
    private volatile int _mode;
    private ulong _directory;

    /// <summary>A unit after reset: ddtp mode Off, no DMA passes.</summary>
    /// <param name="memory">Physical memory.</param>
    /// <param name="options">What it offers; null for everything that is modelled.</param>
    public RiscvIommuUnit(PhysicalMemory memory, RiscvOptions? options = null)
        : base(memory)
    {
        _options = options ?? new RiscvOptions();
        _ioTlb = new IoTlb(_options.IoTlbLg2);
        Registers = DeclareRegisters();
    }

    /// <summary>What the unit was made with.</summary>
    public RiscvOptions Options => _options;

    /// <summary>The translation cache, for tests and reports.</summary>
    public IoTlb IoTlb => _ioTlb;

    /// <inheritdoc/>
    protected override bool TryHit(ushort requesterId, uint pasid, ulong address, DmaAccess access, out ulong output, out int sizeLg2)
    {
        output = 0;
        sizeLg2 = 0;
        var context = _contexts[ContextIndex(requesterId, pasid)];
        return _mode != 1 && context != null && context.DeviceId == requesterId && context.Pasid == pasid && !ChecksStaleness
            && _ioTlb.TryHit(context.Space, address, access, out output, out sizeLg2);
    }

    /// <inheritdoc/>
    public override bool Translate(in DmaRequest request, out DmaTranslation translation)
    {
        translation = default;
        if (_mode == 1)
        {
            if ((request.Access & (DmaAccess.Translated | DmaAccess.TranslationRequest)) != 0)
                return Refuse(request, new RiscvFault(RiscvCause.TypeDisallowed), false, out translation);
            translation = new DmaTranslation { Output = request.Address, SizeLg2 = 63,
                Allowed = DmaAccess.Read | DmaAccess.Write | DmaAccess.Execute };
            return true;
        }

        // Before anything is looked up: what an invalidation overtakes from here on is not kept.
        var generation = _ioTlb.Generation;
        var context = _contexts[ContextIndex(request.RequesterId, request.Pasid)];
        if (context == null || context.DeviceId != request.RequesterId || context.Pasid != request.Pasid)
        {
            lock (_gate)
            {
                var fault = FindContext(request, out context, out var faultsDisabled);
                if (fault.Cause != RiscvCause.None)
                    return Refuse(request, fault, faultsDisabled, out translation);
                _contexts[ContextIndex(request.RequesterId, request.Pasid)] = context;
            }
        }

        if (!IsAllowed(request, context!))
            return Refuse(request, new RiscvFault(RiscvCause.TypeDisallowed), context!.FaultsDisabled, out translation);
        if ((request.Access & (DmaAccess.Translated | DmaAccess.Privileged | DmaAccess.TranslationRequest)) == 0
            && _ioTlb.TryGet(context!.Space, request.Address, out translation.Output, out translation.SizeLg2, out translation.Allowed)
            && (request.Access & (DmaAccess.Read | DmaAccess.Write | DmaAccess.Execute) & ~translation.Allowed) == 0)
        {
            if (ChecksStaleness)
                CheckStaleness(request, context, translation);
            return true;
        }

        var walked = Walk(request, context!, true, out translation);
        if (walked.Cause != RiscvCause.None)
            return Refuse(request, walked, context!.FaultsDisabled, out translation);
        if ((request.Access & (DmaAccess.Privileged | DmaAccess.Translated | DmaAccess.TranslationRequest)) == 0 && !translation.IsMessage)
            _ioTlb.Add(context!.Space, request.Address, translation.Output, translation.SizeLg2, translation.Allowed, generation);
        return true;
    }

    private static bool IsAllowed(in DmaRequest request, RiscvContext context) =>
        (request.Access & (DmaAccess.Translated | DmaAccess.TranslationRequest | DmaAccess.Privileged)) == 0
        || (((request.Access & (DmaAccess.Translated | DmaAccess.TranslationRequest)) == 0 || context.Ats)
            && ((request.Access & DmaAccess.Privileged) == 0 || context.SupervisorEnabled));

    // Section 2.3.3: two stages and the MSI tables.
    private RiscvFault Walk(in DmaRequest request, RiscvContext context, bool update, out DmaTranslation translation)
    {
        translation = new DmaTranslation { Output = request.Address, SizeLg2 = 12, Allowed = DmaAccess.Read | DmaAccess.Write | DmaAccess.Execute };
        var guest = request.Address;
        var sizeLg2 = 63;
        var translated = (request.Access & DmaAccess.Translated) != 0;
        if (translated && !context.T2Gpa)
            return default;
        if (!translated && context.First != RiscvStage.Bare)
        {
            var fault = WalkFirst(request, context, update, out var first);
            if (fault.Cause != RiscvCause.None)
                return fault;
            guest = first.Output;
            sizeLg2 = first.SizeLg2;
            translation.Allowed = Allowed(request, first.Attributes, context.FirstRules);
        }

        if (context.MsiTranslation && ((guest >> 12) & ~context.MsiMask) == (context.MsiPattern & ~context.MsiMask))
            return TranslateMessage(request, context, guest, out translation);
        if ((request.Access & DmaAccess.TranslationRequest) != 0 && context.T2Gpa)
        {
            translation.Output = guest;
            translation.SizeLg2 = Math.Min(sizeLg2, 30);
            return default;
        }

        if (context.Second == RiscvStage.Bare)
        {
            if (guest >> Memory.Options.AddressBits != 0)
                return new RiscvFault(ByAccess(request, RiscvCause.ReadAccess));
            translation.Output = guest;
            translation.SizeLg2 = Math.Min(sizeLg2, 30);
            return default;
        }

        var access = ((WalkAccess)request.Access & (WalkAccess.Read | WalkAccess.Write | WalkAccess.Execute)) | Rules(context.SecondRules, update);
        var ok = context.Second == RiscvStage.Sv32
            ? context.SecondTable.Walk<RiscV32>(guest, access, out var second)
            : context.SecondTable.Walk<RiscV64>(guest, access, out second);
        if (!ok)
        {
            return second.Fault == WalkFault.TableOutsideMemory || second.Fault == WalkFault.OutputTooWide
                ? new RiscvFault(ByAccess(request, RiscvCause.ReadAccess))
                : new RiscvFault(ByAccess(request, RiscvCause.ReadGuestPage), guest & ~3UL);
        }

        translation.Output = second.Output;
        translation.SizeLg2 = Math.Min(sizeLg2, second.SizeLg2);
        translation.Allowed &= Allowed(request, second.Attributes, context.SecondRules);
        return default;
    }

    private static RiscvFault WalkFirst(in DmaRequest request, RiscvContext context, bool update, out WalkResult first)
    {
        var access = ((WalkAccess)request.Access & (WalkAccess.Read | WalkAccess.Write | WalkAccess.Execute | WalkAccess.Privileged))
            | Rules(context.FirstRules, update);
        // A supervisor never executes user pages, and touches them only with SUM.
        if ((request.Access & DmaAccess.Privileged) != 0 && (!context.SupervisorUserAccess || (request.Access & DmaAccess.Execute) != 0))
            access |= WalkAccess.PrivilegedNotUser;
        bool ok;
        ulong tableAddress = 0;
        var secondFault = WalkFault.None;
        var implicitWrite = false;
        switch (context.Second)
        {
            case RiscvStage.Bare:
                ok = context.First == RiscvStage.Sv32
                    ? context.FirstTable.Walk<RiscV32>(request.Address, access, out first)
                    : context.FirstTable.Walk<RiscV64>(request.Address, access, out first);
                break;
            case RiscvStage.Sv32:
                var narrow = new NestedTableReader<RiscV32>(context.SecondTable, Rules(context.SecondRules, update));
                ok = WalkNested(context, ref narrow, request.Address, access, out first);
                (tableAddress, secondFault, implicitWrite) = (narrow.Address, narrow.Second.Fault, narrow.Writing);
                break;
            default:
                var nested = new NestedTableReader<RiscV64>(context.SecondTable, Rules(context.SecondRules, update));
                ok = WalkNested(context, ref nested, request.Address, access, out first);
                (tableAddress, secondFault, implicitWrite) = (nested.Address, nested.Second.Fault, nested.Writing);
                break;
        }

        if (ok)
            return default;
        if (first.Fault == WalkFault.TableTranslation && secondFault != WalkFault.TableOutsideMemory)
            return new RiscvFault(ByAccess(request, RiscvCause.ReadGuestPage), (tableAddress & ~3UL) | (implicitWrite ? 3UL : 1UL));
        return new RiscvFault(ByAccess(request, first.Fault is WalkFault.TableOutsideMemory or WalkFault.TableTranslation or WalkFault.OutputTooWide
            ? RiscvCause.ReadAccess : RiscvCause.ReadPage));
    }

    private static bool WalkNested<TReader>(RiscvContext context, ref TReader reader, ulong address, WalkAccess access, out WalkResult result)
        where TReader : struct, ITableReader =>
        context.First == RiscvStage.Sv32
            ? TableWalk.Walk<RiscV32, TReader>(context.FirstTable.Plan!, context.FirstTable.Root, ref reader, address, access, out result)
            : TableWalk.Walk<RiscV64, TReader>(context.FirstTable.Plan!, context.FirstTable.Root, ref reader, address, access, out result);

    private static WalkAccess Rules(WalkAccess rules, bool update) => update ? rules : rules & ~WalkAccess.UpdateAccessedDirty;

    private static DmaAccess Allowed(in DmaRequest request, PageAttributes attributes, WalkAccess rules)
    {
        var allowed = (DmaAccess)attributes & (DmaAccess.Read | DmaAccess.Write | DmaAccess.Execute);
        // A page that is not dirty is cached without its write permission: the first write walks again, to set the bit or to fault.
        return rules != 0 && (request.Access & DmaAccess.Write) == 0 && (attributes & PageAttributes.Dirty) == 0
            ? allowed & ~DmaAccess.Write
            : allowed;
    }

    // Each of the page, guest-page and access faults comes in three kinds: for reads (given), writes (+2), instruction fetches (-1; access fault -4).
    private static RiscvCause ByAccess(in DmaRequest request, RiscvCause read)
    {
        if ((request.Access & DmaAccess.Write) != 0)
            return read + 2;
        if ((request.Access & DmaAccess.Execute) == 0)
            return read;
        return read == RiscvCause.ReadAccess ? RiscvCause.InstructionAccess : read - 1;
    }

    private static int ContextIndex(ushort deviceId, uint pasid) => (int)(deviceId ^ ((pasid + 1) * 0x9E37)) & (ContextCacheSize - 1);

    private void CheckStaleness(in DmaRequest request, RiscvContext context, in DmaTranslation cached)
    {
        lock (_gate)
        {
            var found = FindContext(request, out var now, out _);
            if (found.Cause != RiscvCause.None || now!.Space != context.Space || now.FirstTable.Root != context.FirstTable.Root
                || now.SecondTable.Root != context.SecondTable.Root
                || now.First != context.First || now.Second != context.Second)
            {
                ReportStale(new StaleUse(request, cached.Output, null, $"IODIR.INVAL_DDT of device {request.RequesterId:x4}"
                    + (request.Pasid == DmaRequest.NoPasid ? string.Empty : $" or IODIR.INVAL_PDT of process {request.Pasid:x}")));
                return;
            }

            var fault = Walk(request, now, false, out var fresh);
            if (fault.Cause == RiscvCause.None && fresh.Output == cached.Output)
                return;
            var missed = (context.First != RiscvStage.Bare ? $"IOTINVAL.VMA of PSCID {context.Space & 0xF_FFFF}" : string.Empty)
                + (context.First != RiscvStage.Bare && context.Second != RiscvStage.Bare ? " or " : string.Empty)
                + (context.Second != RiscvStage.Bare ? $"IOTINVAL.GVMA of GSCID {context.Space >> 20 & 0xFFFF}" : string.Empty)
                + $", address 0x{request.Address & ~0xFFFUL:x}";
            ReportStale(new StaleUse(request, cached.Output, fault.Cause == RiscvCause.None ? fresh.Output : null, missed));
        }
    }
}

/// <summary>A fault before it is written to the queue.</summary>
internal readonly record struct RiscvFault(RiscvCause Cause, ulong Value2 = 0);
