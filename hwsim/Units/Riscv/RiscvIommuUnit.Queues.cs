namespace IommuFd.HwSim.Units;

// Command queue (chapter 3.1), fault queue (3.2, 4.2), page-request queue (3.3).
public sealed partial class RiscvIommuUnit
{
    private void RunCommands()
    {
        ref var status = ref Registers[RiscvRegister.cqcsr];
        ref var head = ref Registers[RiscvRegister.cqh];
        while ((status & On) != 0 && (status & (MemoryFault | Illegal)) == 0 && head != Registers[RiscvRegister.cqt])
        {
            var at = QueueAddress(RiscvRegister.cqb) + (head * 16);
            if (!Memory.Read64(at, out var low) || !Memory.Read64(at + 8, out var high))
                status |= MemoryFault;
            else if (!Execute(low, high, ref status))
                status |= (status & MemoryFault) != 0 ? 0 : Illegal;
            else
                head = (head + 1) & QueueMask(RiscvRegister.cqb);
        }

        if ((status & InterruptEnable) != 0 && (status & (MemoryFault | Illegal | FenceWait)) != 0)
            Interrupt(0);
    }

    private bool Execute(ulong low, ulong high, ref ulong status)
    {
        switch (low & 0x3FF)
        {
            case 1: // IOTINVAL.VMA
                InvalidateFirst(low, high);
                return true;
            case 1 | 1 << 7: // IOTINVAL.GVMA
                InvalidateSecond(low);
                return (low & 1UL << 32) == 0;
            case 2: // IOFENCE.C
                return Fence(low, high, ref status);
            case 3: // IODIR.INVAL_DDT
                InvalidateContexts((low & 1UL << 33) != 0, (uint)(low >> 40), null);
                return true;
            case 3 | 1 << 7: // IODIR.INVAL_PDT
                InvalidateContexts(true, (uint)(low >> 40), (uint)(low >> 12) & 0xF_FFFF);
                return (low & 1UL << 33) != 0;
            case 4 when _options.Ats: // ATS.INVAL
                InvalidateDevice(low, high);
                return true;
            case 4 | 1 << 7 when _options.Ats: // ATS.PRGR
                DeviceTlbOf((ushort)(low >> 40))?.PageResponse(
                    (low & 1UL << 32) != 0 ? (uint)(low >> 12) & 0xF_FFFF : DmaRequest.NoPasid, (ushort)(high >> 32 & 0x1FF),
                    (byte)(high >> 44 & 15));
                return true;
            default:
                return false;
        }
    }

    private bool Fence(ulong low, ulong high, ref ulong status)
    {
        if ((low & 1 << 11) != 0)
            return false; // wired interrupts are not offered
        if ((low & 1 << 10) == 0)
            return true;
        if (Memory.Write32(high << 2, (uint)(low >> 32)))
            return true;
        status |= MemoryFault;
        return false;
    }

    private void InvalidateFirst(ulong low, ulong high)
    {
        var space = FirstStageSpace;
        var mask = FirstStageSpace | SecondStageSpace;
        if ((low & 1UL << 33) != 0) // GV
        {
            space |= SecondStageSpace | (low >> 44 & 0xFFFF) << 20;
            mask |= 0xFFFFUL << 20;
        }

        if ((low & 1UL << 32) != 0) // PSCV
        {
            space |= low >> 12 & 0xF_FFFF;
            mask |= 0xF_FFFF;
        }

        if ((low & 1 << 10) == 0)
        {
            _ioTlb.Remove(space, mask);
        }
        else
        {
            var address = high << 2 & ~0xFFFUL;
            _ioTlb.Remove(space, mask, address, address | 0xFFF);
        }
    }

    // Entries are kept by the first stage's address, so an address of the second stage means all entries of its guest.
    private void InvalidateSecond(ulong low)
    {
        if ((low & 1UL << 33) != 0)
            _ioTlb.Remove(SecondStageSpace | (low >> 44 & 0xFFFF) << 20, SecondStageSpace | 0xFFFFUL << 20);
        else
            _ioTlb.Remove(SecondStageSpace, SecondStageSpace);
    }

    private void InvalidateContexts(bool one, uint deviceId, uint? pasid)
    {
        for (var i = 0; i < _contexts.Length; i++)
        {
            if (_contexts[i] is { } context && (!one || context.DeviceId == deviceId)
                && (pasid is not { } p || context.Pasid == p || (p == 0 && context.Pasid == DmaRequest.NoPasid)))
                _contexts[i] = null;
        }
    }

    private void InvalidateDevice(ulong low, ulong payload)
    {
        var pasid = (low & 1UL << 32) != 0 ? (uint)(low >> 12) & 0xF_FFFF : DmaRequest.NoPasid;
        var first = payload & ~0xFFFUL;
        ulong size = 0xFFF;
        if ((payload & 1 << 11) != 0)
        {
            var ones = (int)ulong.TrailingZeroCount(~(first >> 12));
            size = ones >= 51 ? ulong.MaxValue : (1UL << (13 + ones)) - 1;
        }

        DeviceTlbOf((ushort)(low >> 40))?.Invalidate(pasid, first & ~size, first | size, (payload & 1) != 0);
    }

    private bool Refuse(in DmaRequest request, RiscvFault fault, bool faultsDisabled, out DmaTranslation translation)
    {
        translation = new DmaTranslation { Reason = (uint)fault.Cause };
        // A page fault of an ATS translation request is an answer without permissions, not a record (section 3.6).
        var answered = (request.Access & DmaAccess.TranslationRequest) != 0
            && fault.Cause is >= RiscvCause.InstructionPage and <= RiscvCause.WriteGuestPage;
        // DTF keeps all but the causes of the directory itself out of the queue.
        var always = fault.Cause is RiscvCause.AllDisallowed or RiscvCause.DdtLoad or RiscvCause.DdtNotValid or RiscvCause.DdtMisconfigured;
        if (!answered && (!faultsDisabled || always))
        {
            lock (_gate)
                RecordFault(request, fault);
        }

        return false;
    }

    private void RecordFault(in DmaRequest request, RiscvFault fault)
    {
        ref var status = ref Registers[RiscvRegister.fqcsr];
        if ((status & On) == 0 || (status & (MemoryFault | Overflow)) != 0)
            return;
        ref var tail = ref Registers[RiscvRegister.fqt];
        var next = (tail + 1) & QueueMask(RiscvRegister.fqb);
        if (next == Registers[RiscvRegister.fqh])
        {
            status |= Overflow;
        }
        else
        {
            var hasPasid = request.Pasid != DmaRequest.NoPasid;
            var header = (ulong)fault.Cause
                | (hasPasid ? (ulong)request.Pasid << 12 | 1UL << 32 : 0)
                | (hasPasid && (request.Access & DmaAccess.Privileged) != 0 ? 1UL << 33 : 0)
                | (TransactionType(request.Access) << 34)
                | ((ulong)request.RequesterId << 40);
            var at = QueueAddress(RiscvRegister.fqb) + (tail * 32);
            if (Memory.Write64(at, header) && Memory.Write64(at + 8, 0) && Memory.Write64(at + 16, request.Address)
                && Memory.Write64(at + 24, fault.Value2))
                tail = next;
            else
                status |= MemoryFault;
        }

        if ((status & InterruptEnable) != 0)
            Interrupt(1);
    }

    // TTYP: 1 to 3 untranslated (fetch, read, write), 5 to 7 translated, 8 ATS translation request.
    private static ulong TransactionType(DmaAccess access)
    {
        if ((access & DmaAccess.TranslationRequest) != 0)
            return 8;
        var kind = (access & DmaAccess.Write) != 0 ? 3UL : (access & DmaAccess.Execute) != 0 ? 1UL : 2UL;
        return (access & DmaAccess.Translated) != 0 ? kind + 4 : kind;
    }

    /// <inheritdoc/>
    public override bool RequestPage(in PageRequest request)
    {
        lock (_gate)
        {
            var dma = new DmaRequest(request.RequesterId, request.Pasid, request.Address, request.Access);
            RiscvContext? context = null;
            var fault = _mode == 1 ? new RiscvFault(RiscvCause.TypeDisallowed) : FindContext(dma, out context, out _);
            if (fault.Cause == RiscvCause.None && !context!.PageRequests)
                fault = new RiscvFault(RiscvCause.TypeDisallowed);
            if (fault.Cause != RiscvCause.None)
            {
                RecordFault(dma, fault);
                Answer(request, fault.Cause == RiscvCause.TypeDisallowed ? (byte)1 : (byte)15);
                return false;
            }

            return QueuePage(request);
        }
    }

    private bool QueuePage(in PageRequest request)
    {
        ref var status = ref Registers[RiscvRegister.pqcsr];
        ref var tail = ref Registers[RiscvRegister.pqt];
        var next = (tail + 1) & QueueMask(RiscvRegister.pqb);
        var taken = false;
        if ((status & On) != 0 && (status & (MemoryFault | Overflow)) == 0)
        {
            var hasPasid = request.Pasid != DmaRequest.NoPasid;
            var header = (hasPasid ? (ulong)request.Pasid << 12 | 1UL << 32 : 0)
                | ((request.Access & DmaAccess.Privileged) != 0 ? 1UL << 33 : 0) | ((request.Access & DmaAccess.Execute) != 0 ? 1UL << 34 : 0)
                | ((ulong)request.RequesterId << 40);
            var payload = ((ulong)request.Access & 3) | (request.Last ? 4UL : 0) | ((ulong)(request.Group & 0x1FF) << 3)
                | (request.Address & ~0xFFFUL);
            var at = QueueAddress(RiscvRegister.pqb) + (tail * 16);
            if (next == Registers[RiscvRegister.pqh])
                status |= Overflow;
            else if (Memory.Write64(at, header) && Memory.Write64(at + 8, payload))
                taken = true;
            else
                status |= MemoryFault;
            if (taken)
                tail = next;
            if ((status & InterruptEnable) != 0)
                Interrupt(3);
        }

        // Queue off or in error: failure. Full: success, so that the device tries again.
        if (!taken)
            Answer(request, (status & Overflow) != 0 ? (byte)0 : (byte)15);
        return taken;
    }

    private void Answer(in PageRequest request, byte code)
    {
        if (request.Last)
            DeviceTlbOf(request.RequesterId)?.PageResponse(request.Pasid, request.Group, code);
    }
}
