using IommuFd.HwSim.PageTables;

namespace IommuFd.HwSim.Units;

/// <summary>
/// A VT-d remapping unit: Intel Virtualization Technology for Directed I/O, revision 4 and later. Tables are read from physical memory; software
/// programs them there and tells the unit through its registers, exactly as a driver does with the real one.
/// </summary>
/// <remarks>
/// Does not model: advanced fault logging, protected memory regions, interrupt remapping and posting (messages pass unchanged), performance counters,
/// enhanced command registers, paging-structure caches (a walk reads every level), TTM 3 (abort-DMA). Touching those registers is noted in
/// <see cref="RegisterFile.Unmodelled"/>; their capability bits are clear.
/// </remarks>
public sealed partial class VtdUnit : IommuUnit
{
    private const int ContextCacheSize = 4096;

    private readonly Lock _gate = new();
    private readonly VtdOptions _options;
    private readonly IoTlb _ioTlb;
    private readonly VtdContext?[] _contexts = new VtdContext?[ContextCacheSize];
    private readonly ContextMemo<VtdContext> _knownContexts = new(6);
    private readonly ContextMemo<VtdDevice> _knownDevices = new(3);
    private volatile bool _translationEnabled;
    private ulong _rootTable;
    private int _mode;

    /// <summary>A unit after reset: translation is off and all DMA passes.</summary>
    /// <param name="memory">Physical memory.</param>
    /// <param name="options">What it offers; null for everything that is modelled.</param>
    public VtdUnit(PhysicalMemory memory, VtdOptions? options = null)
        : base(memory)
    {
        _options = options ?? new VtdOptions();
        if (_options.AddressWidth is not (39 or 48 or 57))
            throw new ArgumentException("A VT-d unit has an address width of 39, 48 or 57 bits.", nameof(options));
        if (_options.FaultRecords is < 1 or > 16)
            throw new ArgumentException("1 to 16 fault recording registers fit.", nameof(options));
        _ioTlb = new IoTlb(_options.IoTlbLg2);
        Registers = DeclareRegisters();
    }

    /// <summary>What the unit was made with.</summary>
    public VtdOptions Options => _options;

    /// <summary>The translation cache, for tests and reports.</summary>
    public IoTlb IoTlb => _ioTlb;

    /// <inheritdoc/>
    protected override bool TryHit(ushort requesterId, uint pasid, ulong address, DmaAccess access, out ulong output, out int sizeLg2)
    {
        output = 0;
        sizeLg2 = 0;
        var context = _contexts[ContextIndex(requesterId, pasid)];
        return _translationEnabled && context != null && IsFor(context, requesterId, pasid) && !ChecksStaleness
            && _ioTlb.TryHit(context.Space, address, access, out output, out sizeLg2);
    }

    private bool IsFor(VtdContext context, ushort requesterId, uint pasid) => context.SourceId == requesterId && context.Pasid == pasid
        && ReferenceEquals(context.Device, _mode == 0 ? null : _devices[DeviceIndex(requesterId)]);

    /// <inheritdoc/>
    public override bool Translate(in DmaRequest request, out DmaTranslation translation)
    {
        if (!_translationEnabled)
        {
            translation = new DmaTranslation { Output = request.Address, SizeLg2 = 63,
                Allowed = DmaAccess.Read | DmaAccess.Write | DmaAccess.Execute };
            return true;
        }

        translation = default;
        // Before anything is looked up: what an invalidation overtakes from here on is not kept.
        var generation = _ioTlb.Generation;
        var context = _contexts[ContextIndex(request.RequesterId, request.Pasid)];
        if (context == null || !IsFor(context, request.RequesterId, request.Pasid))
        {
            var reason = FindContext(request, out context, out var faultsDisabled);
            if (reason != VtdFaultReason.None)
                return Refuse(request, reason, faultsDisabled, out translation);
        }

        if ((request.Access & (DmaAccess.Translated | DmaAccess.TranslationRequest | DmaAccess.Execute | DmaAccess.Privileged)) != 0)
        {
            var reason = CheckKind(request, context!);
            if (reason != VtdFaultReason.None)
                return Refuse(request, reason, context!.FaultsDisabled, out translation);
            if ((request.Access & DmaAccess.Translated) != 0)
            {
                translation = new DmaTranslation { Output = request.Address, SizeLg2 = 12,
                    Allowed = request.Access & (DmaAccess.Read | DmaAccess.Write) };
                return true;
            }
        }

        if (_ioTlb.TryGet(context!.Space, request.Address, out translation.Output, out translation.SizeLg2, out translation.Allowed)
            && (request.Access & (DmaAccess.Read | DmaAccess.Write | DmaAccess.Execute) & ~translation.Allowed) == 0
            && (request.Access & DmaAccess.Privileged) == 0)
        {
            if (ChecksStaleness)
                CheckStaleness(request, context, translation);
            return true;
        }

        return TranslateByWalk(request, context, generation, out translation);
    }

    private bool TranslateByWalk(in DmaRequest request, VtdContext context, int generation, out DmaTranslation translation)
    {
        var reason = Walk(request, context, WalkAccess.UpdateAccessedDirty, out translation);
        if (reason != VtdFaultReason.None)
            return Refuse(request, reason, context.FaultsDisabled, out translation);
        if ((request.Access & DmaAccess.Privileged) == 0)
            _ioTlb.Add(context.Space, request.Address, translation.Output, translation.SizeLg2, translation.Allowed, generation);
        return true;
    }

    // Everything after the context entry, without any cache.
    private VtdFaultReason Walk(in DmaRequest request, VtdContext context, WalkAccess rules, out DmaTranslation translation)
    {
        translation = default;
        if (request.Address >> 20 == 0xFEE && request.Pasid == DmaRequest.NoPasid)
            return _mode == 0 ? VtdFaultReason.AddressBeyondMgaw : VtdFaultReason.InterruptRange;
        if (context.Translation >= VtdTranslation.FirstStage)
            return WalkFirstStage(request, context, rules, out translation);
        if (context.Translation == VtdTranslation.PassThrough)
        {
            if (request.Address >> Memory.Options.AddressBits != 0)
                return _mode == 0 ? VtdFaultReason.AddressBeyondMgaw : VtdFaultReason.AddressBeyondHardware;
            translation.Output = request.Address;
            translation.SizeLg2 = 12;
            translation.Allowed = DmaAccess.Read | DmaAccess.Write | DmaAccess.Execute;
            return VtdFaultReason.None;
        }

        if (request.Address >> _options.AddressWidth != 0)
            return _mode == 0 ? VtdFaultReason.AddressBeyondMgaw : VtdFaultReason.AddressBeyondHardware;
        var access = ((WalkAccess)request.Access & (WalkAccess.Read | WalkAccess.Write)) | (rules & context.SecondStageRules);
        var table = context.SecondStage;
        var ok = table.Walk<VtdSecondStage>(request.Address, access, out var result);
        translation.Output = result.Output;
        translation.SizeLg2 = result.SizeLg2;
        translation.Allowed = Allowed(request, result.Attributes, context.SecondStageRules != 0);
        return ok ? VtdFaultReason.None : SecondStageReason(result, table.TopLevel, (request.Access & DmaAccess.Write) != 0);
    }

    // While dirty bits are kept, a page that was only read is cached without its write permission: the first write walks again and sets the bit.
    private static DmaAccess Allowed(in DmaRequest request, PageAttributes attributes, bool tracked)
    {
        var allowed = (DmaAccess)attributes & (DmaAccess.Read | DmaAccess.Write | DmaAccess.Execute);
        return tracked && (request.Access & DmaAccess.Write) == 0 && (attributes & PageAttributes.Dirty) == 0 ? allowed & ~DmaAccess.Write : allowed;
    }

    private VtdFaultReason SecondStageReason(in WalkResult result, int topLevel, bool write)
    {
        if (_mode == 0)
        {
            return result.Fault switch
            {
                WalkFault.AddressTooWide => VtdFaultReason.AddressBeyondMgaw,
                WalkFault.NotPresent => write ? VtdFaultReason.Write : VtdFaultReason.Read,
                WalkFault.Write => VtdFaultReason.Write,
                WalkFault.Read or WalkFault.Execute => VtdFaultReason.Read,
                WalkFault.TableOutsideMemory => VtdFaultReason.NextTableInvalid,
                _ => VtdFaultReason.PagingReserved,
            };
        }

        return result.Fault switch
        {
            WalkFault.AddressTooWide => VtdFaultReason.AddressBeyondTable,
            WalkFault.NotPresent => VtdFaultReason.SecondStageNotPresent,
            WalkFault.Write => VtdFaultReason.NoWrite,
            WalkFault.Read => VtdFaultReason.NoRead,
            WalkFault.Execute => VtdFaultReason.NoExecute,
            WalkFault.TableOutsideMemory => result.Level == topLevel ? VtdFaultReason.SecondStageRootInvalid : VtdFaultReason.SecondStageTableInvalid,
            _ => VtdFaultReason.SecondStageReserved,
        };
    }

    private static VtdFaultReason CheckKind(in DmaRequest request, VtdContext context)
    {
        if ((request.Access & (DmaAccess.Translated | DmaAccess.TranslationRequest)) != 0 && !context.DeviceTlb)
            return context.Device == null ? VtdFaultReason.TranslationTypeBlocked : VtdFaultReason.DeviceTlbDisabled;
        if ((request.Access & DmaAccess.Execute) != 0 && !context.ExecuteEnabled)
            return VtdFaultReason.ExecuteDisabled;
        if ((request.Access & DmaAccess.Privileged) != 0 && !context.SupervisorEnabled)
            return VtdFaultReason.SupervisorDisabled;
        return VtdFaultReason.None;
    }

    private bool Refuse(in DmaRequest request, VtdFaultReason reason, bool faultsDisabled, out DmaTranslation translation)
    {
        translation = new DmaTranslation { Reason = (uint)reason };
        // An ATS request for a page that is not there is answered "no translation"; only faults of the structures above are recorded.
        var answered = (request.Access & DmaAccess.TranslationRequest) != 0 && reason is VtdFaultReason.Read or VtdFaultReason.Write
            or VtdFaultReason.FirstStageNotPresent or VtdFaultReason.SecondStageNotPresent or VtdFaultReason.NoRead or VtdFaultReason.NoWrite
            or VtdFaultReason.UserOnSupervisorPage;
        // FPD silences qualified faults only; reserved bits in the context entry that holds FPD are not among them (section 7.1, column "Qualified").
        if (reason is VtdFaultReason.ContextReserved or VtdFaultReason.ScalableContextReserved)
            faultsDisabled = false;
        if (!faultsDisabled && !((request.Access & DmaAccess.TranslationRequest) != 0 && answered))
            RecordFault(request, reason);
        return false;
    }

    private static int ContextIndex(ushort sourceId, uint pasid) => (int)(sourceId ^ ((pasid + 1) * 0x9E37)) & (ContextCacheSize - 1);

    /// <inheritdoc/>
    protected override bool IsMessage(ulong address, uint pasid) => address >> 20 == 0xFEE && pasid == DmaRequest.NoPasid;
}
