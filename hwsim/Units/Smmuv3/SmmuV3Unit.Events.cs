namespace IommuFd.HwSim.Units;

// Chapter 7: event queue; section 8: PRI queue; section 3.12: stalls.
public sealed partial class SmmuV3Unit
{
    private const ulong OverflowFlag = 1UL << 31;
    private readonly Dictionary<ushort, ushort> _stalled = [];
    private ushort _nextTag;

    /// <summary>Told when a stalled transaction is resumed: stream, stall tag, and whether it may be tried again (else it is terminated).</summary>
    public Action<ushort, ushort, bool>? Resumed { get; set; }

    private bool Refuse(in DmaRequest request, SmmuFault fault, bool recorded, bool stalls, out DmaTranslation translation)
    {
        translation = new DmaTranslation { Reason = (uint)fault.Event };
        // Stalling is for faults that software can mend: missing page, permission, access flag, address size.
        var canStall = stalls && fault.Event >= SmmuEvent.F_TRANSLATION && (request.Access & DmaAccess.TranslationRequest) == 0;
        // A translation request is answered; its page faults are no events.
        if ((request.Access & DmaAccess.TranslationRequest) != 0 && fault.Event >= SmmuEvent.F_TRANSLATION)
            return false;
        lock (_gate)
        {
            ushort tag = 0;
            if (canStall)
            {
                tag = _nextTag++;
                _stalled[tag] = request.RequesterId;
                translation.IsStalled = true;
                translation.StallTag = tag;
            }

            if (recorded || canStall)
                RecordEvent(request, fault, canStall, tag);
        }

        return false;
    }

    private void RecordEvent(in DmaRequest request, SmmuFault fault, bool stalled, ushort tag)
    {
        var word0 = (ulong)fault.Event | ((ulong)request.RequesterId << 32);
        if (request.Pasid != DmaRequest.NoPasid && fault.Event is not (SmmuEvent.F_STREAM_DISABLED or SmmuEvent.C_BAD_STREAMID))
            word0 |= 1UL << 11 | (ulong)request.Pasid << 12;
        ulong word1 = 0, word2 = 0, word3 = 0;
        switch (fault.Event)
        {
            case >= SmmuEvent.F_TRANSLATION or SmmuEvent.F_WALK_EABT:
                word1 = (stalled ? 1UL << 31 | tag : 0)
                    | ((request.Access & DmaAccess.Privileged) != 0 ? 1UL << 33 : 0)
                    | ((request.Access & DmaAccess.Execute) != 0 ? 1UL << 34 : 0)
                    | ((request.Access & DmaAccess.Write) == 0 ? 1UL << 35 : 0)
                    | (fault.Stage2 ? 1UL << 39 : 0)
                    | ((ulong)fault.Class << 40);
                word2 = request.Address;
                word3 = fault.Event == SmmuEvent.F_WALK_EABT ? fault.Address & ~7UL : fault.Address & ~0xFFFUL;
                break;
            case SmmuEvent.F_STE_FETCH or SmmuEvent.F_CD_FETCH:
                word3 = fault.Address & ~7UL;
                break;
            case SmmuEvent.F_TRANSL_FORBIDDEN or SmmuEvent.F_BAD_ATS_TREQ:
                word1 = (request.Access & DmaAccess.Write) == 0 ? 1UL << 35 : 0;
                word2 = request.Address;
                break;
            default:
                break;
        }

        if (!TryProduce(SmmuRegister.EVENTQ_BASE, SmmuRegister.EVENTQ_PROD, SmmuRegister.EVENTQ_CONS, EventqEn, 32, out var at, out var wasEmpty))
            return;
        if (!Memory.Write64(at, word0) || !Memory.Write64(at + 8, word1) || !Memory.Write64(at + 16, word2) || !Memory.Write64(at + 24, word3))
        {
            GlobalError(2);
            return;
        }

        Advance(SmmuRegister.EVENTQ_BASE, SmmuRegister.EVENTQ_PROD);
        if (wasEmpty && (Registers[SmmuRegister.IRQ_CTRL] & 4) != 0)
            SendEvent(SmmuRegister.EVENTQ_IRQ_CFG0, SmmuRegister.EVENTQ_IRQ_CFG1);
    }

    // A full queue loses the record and shows it by PROD.OVFLG, once until software acknowledges (section 7.4).
    private bool TryProduce(int queueBase, int prod, int cons, ulong enable, ulong bytes, out ulong at, out bool wasEmpty)
    {
        var queue = Registers[queueBase];
        var lg2 = QueueLg2(queue);
        var mask = (2UL << lg2) - 1;
        ref var producer = ref Registers[prod];
        var consumer = Registers[cons];
        at = QueueAddress(queue) + ((producer & (mask >> 1)) * bytes);
        wasEmpty = ((producer ^ consumer) & mask) == 0;
        if ((Registers[SmmuRegister.CR0] & enable) == 0)
            return false;
        if (((producer ^ consumer) & mask) != 1UL << lg2)
            return true;
        if (((producer ^ consumer) & OverflowFlag) == 0)
            producer ^= OverflowFlag;
        return false;
    }

    private void Advance(int queueBase, int prod)
    {
        var mask = (2UL << QueueLg2(Registers[queueBase])) - 1;
        ref var producer = ref Registers[prod];
        producer = (producer & OverflowFlag) | ((producer + 1) & mask);
    }

    private void Resume(ushort tag, ushort stream, bool retry)
    {
        if (_stalled.TryGetValue(tag, out var owner) && owner == stream)
        {
            _stalled.Remove(tag);
            Resumed?.Invoke(stream, tag, retry);
        }
    }

    private void ResumeAll(ushort stream)
    {
        foreach (var (tag, owner) in _stalled.ToArray())
        {
            if (owner == stream)
                Resume(tag, stream, false);
        }
    }

    /// <inheritdoc/>
    public override bool RequestPage(in PageRequest request)
    {
        lock (_gate)
        {
            if (TryProduce(SmmuRegister.PRIQ_BASE, SmmuRegister.PRIQ_PROD, SmmuRegister.PRIQ_CONS, PriqEn, 16, out var at, out var wasEmpty))
            {
                var hasPasid = request.Pasid != DmaRequest.NoPasid;
                var low = request.RequesterId | (hasPasid ? (ulong)request.Pasid << 32 | 1UL << 63 : 0)
                    | ((request.Access & DmaAccess.Privileged) != 0 ? 1UL << 58 : 0) | ((request.Access & DmaAccess.Execute) != 0 ? 1UL << 59 : 0)
                    | ((request.Access & DmaAccess.Read) != 0 ? 1UL << 60 : 0) | ((request.Access & DmaAccess.Write) != 0 ? 1UL << 61 : 0)
                    | (request.Last ? 1UL << 62 : 0);
                var high = (request.Group & 0x1FFUL) | (request.Address & ~0xFFFUL);
                if (Memory.Write64(at, low) && Memory.Write64(at + 8, high))
                {
                    Advance(SmmuRegister.PRIQ_BASE, SmmuRegister.PRIQ_PROD);
                    if (wasEmpty && (Registers[SmmuRegister.IRQ_CTRL] & 2) != 0)
                        SendEvent(SmmuRegister.PRIQ_IRQ_CFG0, SmmuRegister.PRIQ_IRQ_CFG1);
                    return true;
                }

                GlobalError(3);
            }

            // Not taken: the unit answers itself, success when only the queue is full, so that the device tries again.
            if (request.Last)
                DeviceTlbOf(request.RequesterId)?.PageResponse(request.Pasid, request.Group,
                    (byte)((Registers[SmmuRegister.CR0] & PriqEn) != 0 && !IsActive(3) ? 0 : 15));
            return false;
        }
    }
}
