namespace IommuFd.HwSim.Units;

// Data book section 7.3: primary fault logging.
public sealed partial class VtdUnit
{
    private const uint Pfo = 1, Ppf = 2;
    private const ulong F = 1UL << 63;
    private int _nextRecord;

    /// <summary>Number of faults that were not recorded because the registers were full or held one of the same requester.</summary>
    public ulong UnrecordedFaults { get; private set; }

    private void RecordFault(in DmaRequest request, VtdFaultReason reason)
    {
        lock (_gate)
        {
            ref var status = ref Registers[VtdRegister.FSTS];
            // While PFO is set nothing is recorded; a pending record of the same requester stands for further ones (compression).
            if ((status & Pfo) != 0 || IsCompressed(request.RequesterId))
            {
                UnrecordedFaults++;
                return;
            }

            var low = VtdRegister.FRCD + (16 * _nextRecord);
            if ((Registers[low + 8] & F) != 0)
            {
                UnrecordedFaults++;
                var quiet = (status & (Pfo | Ppf)) != 0;
                status |= Pfo;
                if (!quiet)
                    FaultEvent();
                return;
            }

            Registers[low] = request.Address & ~0xFFFUL;
            var high = F | request.RequesterId | ((ulong)reason << 32);
            if ((request.Access & DmaAccess.Write) == 0)
                high |= 1UL << 62;
            if (request.Pasid != DmaRequest.NoPasid)
            {
                high |= ((ulong)request.Pasid << 40) | (1UL << 31);
                high |= (request.Access & DmaAccess.Execute) != 0 ? 1UL << 30 : 0;
                high |= (request.Access & DmaAccess.Privileged) != 0 ? 1UL << 29 : 0;
            }

            high |= (request.Access & DmaAccess.TranslationRequest) != 0 ? 1UL << 60 : (request.Access & DmaAccess.Translated) != 0 ? 2UL << 60 : 0;
            Registers[low + 8] = high;
            var pending = (status & (Pfo | Ppf)) != 0;
            if (!pending)
                status = (status & ~0xFF00UL) | ((ulong)_nextRecord << 8);
            status |= Ppf;
            _nextRecord = (_nextRecord + 1) % _options.FaultRecords;
            if (!pending)
                FaultEvent();
        }
    }

    private bool IsCompressed(ushort sourceId)
    {
        for (var i = 0; i < _options.FaultRecords; i++)
        {
            var high = Registers[VtdRegister.FRCD + (16 * i) + 8];
            if ((high & F) != 0 && (ushort)high == sourceId)
                return true;
        }

        return false;
    }

    // PPF is the OR of all F bits; FRI names the first of them in the order they were recorded.
    private void FaultStatusWritten()
    {
        ref var status = ref Registers[VtdRegister.FSTS];
        var any = false;
        for (var i = 0; i < _options.FaultRecords && !any; i++)
        {
            var index = (_nextRecord + i) % _options.FaultRecords;
            if ((Registers[VtdRegister.FRCD + (16 * index) + 8] & F) == 0)
                continue;
            any = true;
            status = (status & ~0xFF00UL) | ((ulong)index << 8);
        }

        status = any ? status | Ppf : status & ~(ulong)Ppf;
        if ((status & 0x73) == 0)
            Registers[VtdRegister.FECTL] &= ~(1UL << 30);
        if ((status & 0x10) == 0)
            RunQueue();
    }

    private void FaultEvent()
    {
        ref var control = ref Registers[VtdRegister.FECTL];
        control |= 1UL << 30;
        FaultControlWritten();
    }

    private void FaultControlWritten()
    {
        ref var control = ref Registers[VtdRegister.FECTL];
        if ((control & 3UL << 30) != 1UL << 30)
            return;
        control &= ~(1UL << 30);
        SendEvent(VtdRegister.FEDATA, VtdRegister.FEADDR, VtdRegister.FEUADDR);
    }
}
