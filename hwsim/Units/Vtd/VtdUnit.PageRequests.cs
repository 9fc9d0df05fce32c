namespace IommuFd.HwSim.Units;

// Page requests: data book section 7.4 and 7.5.
public sealed partial class VtdUnit
{
    private const ulong Ppr = 1, Pro = 2;
    private bool _pageEventDue;

    /// <inheritdoc/>
    public override bool RequestPage(in PageRequest request)
    {
        bool queued;
        lock (_gate)
            queued = TryQueue(request);
        SendPageEvent();
        return queued;
    }

    private bool TryQueue(in PageRequest request)
    {
        var dma = new DmaRequest(request.RequesterId, request.Pasid, request.Address, request.Access | DmaAccess.TranslationRequest);
        var reason = !_options.DeviceTlb || _mode == 0 ? VtdFaultReason.PageRequestInLegacyMode : VtdFaultReason.None;
        if (reason == VtdFaultReason.None && _translationEnabled)
        {
            reason = FindContext(dma, out var context, out _);
            if (reason == VtdFaultReason.None && !context!.Device!.PageRequests)
                reason = VtdFaultReason.PageRequestDisabled;
        }

        if (reason != VtdFaultReason.None)
        {
            RecordFault(dma, reason);
            Answer(request, 15);
            return false;
        }

        return Queue(request);
    }

    private bool Queue(in PageRequest request)
    {
        var address = Registers[VtdRegister.PQA];
        var bytes = 4096UL << (int)(address & 7);
        ref var tail = ref Registers[VtdRegister.PQT];
        ref var status = ref Registers[VtdRegister.PRS];
        var next = (tail + 32) % bytes;
        // A full queue drops the request, says so, and lets the device go on without a page.
        if ((status & Pro) != 0 || next == Registers[VtdRegister.PQH])
        {
            status |= Pro;
            Answer(request, 0);
            return false;
        }

        var hasPasid = request.Pasid != DmaRequest.NoPasid;
        var at = (address & AddressMask) + tail;
        var low = 1UL | (hasPasid ? 1UL << 8 : 0) | ((ulong)request.RequesterId << 16) | (hasPasid ? (ulong)request.Pasid << 32 : 0)
            | ((request.Access & DmaAccess.Execute) != 0 ? 1UL << 52 : 0) | ((request.Access & DmaAccess.Privileged) != 0 ? 1UL << 53 : 0);
        var high = ((request.Access & DmaAccess.Read) != 0 ? 1UL : 0) | ((request.Access & DmaAccess.Write) != 0 ? 2UL : 0) | (request.Last ? 4UL : 0)
            | ((ulong)(request.Group & 0x1FF) << 3) | (request.Address & ~0xFFFUL);
        if (!Memory.Write64(at, low) || !Memory.Write64(at + 8, high) || !Memory.Write64(at + 16, 0) || !Memory.Write64(at + 24, 0))
            return false;
        tail = next;
        if ((status & Ppr) != 0)
            return true;
        status |= Ppr;
        Registers[VtdRegister.PECTL] |= 1UL << 30;
        PageRequestRegisterWritten(VtdRegister.PECTL);
        return true;
    }

    private void Answer(in PageRequest request, byte code)
    {
        if (request.Last)
            DeviceTlbOf(request.RequesterId)?.PageResponse(request.Pasid, request.Group, code);
    }

    private void PageRequestRegisterWritten(int register)
    {
        ref var control = ref Registers[VtdRegister.PECTL];
        if (register == VtdRegister.PRS)
        {
            if ((Registers[VtdRegister.PRS] & (Ppr | Pro)) == 0)
                control &= ~(1UL << 30);
        }
        else if ((control & 3UL << 30) == 1UL << 30)
        {
            control &= ~(1UL << 30);
            _pageEventDue = true;
        }
    }

    // The one event whose handler gives answers to devices and takes locks of its own: it goes out when the unit's lock is free.
    private void SendPageEvent()
    {
        lock (_gate)
        {
            if (!_pageEventDue)
                return;
            _pageEventDue = false;
        }

        SendEvent(VtdRegister.PEDATA, VtdRegister.PEADDR, VtdRegister.PEUADDR);
    }
}
