namespace IommuFd.HwSim.Units;

// Section 2.5: event log; 2.6: peripheral page request log.
public sealed partial class AmdViUnit
{
    private bool Refuse(in DmaRequest request, AmdFault fault, AmdContext? context, out DmaTranslation translation)
    {
        translation = new DmaTranslation { Reason = (uint)fault.Event };
        // A translation request for a page that is not there is answered without permissions.
        if ((request.Access & DmaAccess.TranslationRequest) != 0 && fault.Event == AmdEvent.IO_PAGE_FAULT && (fault.Flags & AmdFault.Reserved) == 0)
            return false;
        lock (_gate)
        {
            if (fault.Event == AmdEvent.IO_PAGE_FAULT && context != null)
            {
                if (context.SuppressAll || (context.SuppressFurther && context.Recorded))
                    return false;
                context.Recorded = true;
            }

            RecordFault(request, fault, context);
        }

        return false;
    }

    private void RecordFault(in DmaRequest request, AmdFault fault, AmdContext? context)
    {
        var hasPasid = request.Pasid != DmaRequest.NoPasid;
        var flags = fault.Flags
            | (hasPasid ? 1u << 16 : 0)                                              // GN
            | ((request.Access & DmaAccess.Execute) != 0 ? 1u << 17 : 0)             // NX
            | (hasPasid && (request.Access & DmaAccess.Privileged) == 0 ? 1u << 18 : 0) // US
            | ((request.Access & DmaAccess.Write) != 0 ? 1u << 21 : 0)               // RW
            | ((request.Access & DmaAccess.TranslationRequest) != 0 ? 1u << 24 : 0); // TR
        var domain = hasPasid ? request.Pasid & 0xFFFF : context?.DomainId ?? 0u;
        var low = (ulong)request.RequesterId | (hasPasid ? (ulong)(request.Pasid & 0xF_0000) : 0) | (ulong)domain << 32
            | (ulong)flags << 32 | (ulong)fault.Event << 60;
        WriteEvent(low, fault.Address ?? request.Address);
    }

    private void WriteEvent(ulong low, ulong high)
    {
        ref var status = ref Registers[AmdRegister.STATUS];
        if ((status & EventLogRun) == 0)
            return;
        if (!Append(AmdRegister.EVT_LOG_BASE, AmdRegister.EVT_HEAD, AmdRegister.EVT_TAIL, low, high))
        {
            // Overflow: the log stops until software starts it again.
            status = (status | EventOverflow) & ~EventLogRun;
        }
        else
        {
            status |= EventLogInt;
        }

        if ((Registers[AmdRegister.CONTROL] & EventIntEn) != 0)
            RaiseInterrupt();
    }

    private bool Append(int logBase, int head, int tail, ulong low, ulong high)
    {
        var log = Registers[logBase];
        var bytes = LogBytes(log);
        ref var position = ref Registers[tail];
        var next = (position + 16) % bytes;
        var at = (log & 0x000F_FFFF_FFFF_F000) + (position % bytes);
        if (next == Registers[head] || !Memory.Write64(at, low) || !Memory.Write64(at + 8, high))
            return false;
        position = next;
        return true;
    }

    /// <inheritdoc/>
    public override bool RequestPage(in PageRequest request)
    {
        lock (_gate)
        {
            var dma = new DmaRequest(request.RequesterId, request.Pasid, request.Address, request.Access);
            ref var status = ref Registers[AmdRegister.STATUS];
            AmdContext? context = null;
            var fault = _options.Ppr && (Registers[AmdRegister.CONTROL] & PprEn) != 0
                ? FindContext(dma, out context)
                : new AmdFault(AmdEvent.INVALID_PPR_REQUEST);
            if (fault.Event is AmdEvent.None or AmdEvent.IO_PAGE_FAULT && context is { Passes: false, PageRequests: true })
            {
                var hasPasid = request.Pasid != DmaRequest.NoPasid;
                var low = request.RequesterId
                    | (hasPasid ? (ulong)(request.Pasid & 0xFFFF) << 16 | (ulong)(request.Pasid >> 16) << 42 | 1UL << 56 : 0)
                    | (ulong)(request.Group & 0x1FF) << 32 | (request.Last ? 1UL << 41 : 0)
                    | ((request.Access & DmaAccess.Execute) != 0 ? 1UL << 49 : 0) | ((request.Access & DmaAccess.Read) != 0 ? 1UL << 50 : 0)
                    | ((request.Access & DmaAccess.Write) != 0 ? 1UL << 53 : 0) | ((request.Access & DmaAccess.Privileged) == 0 ? 1UL << 54 : 0)
                    | 1UL << 60;
                if ((status & PprLogRun) != 0
                    && Append(AmdRegister.PPR_LOG_BASE, AmdRegister.PPR_HEAD, AmdRegister.PPR_TAIL, low, request.Address & ~0xFFFUL))
                {
                    status |= PprInt;
                    if ((Registers[AmdRegister.CONTROL] & PprIntEn) != 0)
                        RaiseInterrupt();
                    return true;
                }

                if ((status & PprLogRun) != 0)
                    status = (status | PprOverflow) & ~PprLogRun;
                Answer(request, 0);
                return false;
            }

            RecordFault(dma, new AmdFault(AmdEvent.INVALID_PPR_REQUEST), context);
            Answer(request, 1);
            return false;
        }
    }

    private void Answer(in PageRequest request, byte code)
    {
        if (request.Last)
            DeviceTlbOf(request.RequesterId)?.PageResponse(request.Pasid, request.Group, code);
    }
}
