namespace IommuFd.HwSim.Units;

// Chapter 4: commands.
public sealed partial class SmmuV3Unit
{
    private const uint CommandIllegal = 1, CommandAbort = 2;

    private static int QueueLg2(ulong queueBase) => (int)Math.Min(queueBase & 31, 19);

    private static ulong QueueAddress(ulong queueBase) => queueBase & 0x000F_FFFF_FFFF_FFE0;

    private void RunCommands()
    {
        var queue = Registers[SmmuRegister.CMDQ_BASE];
        var lg2 = QueueLg2(queue);
        var wrapMask = (2UL << lg2) - 1;
        ref var cons = ref Registers[SmmuRegister.CMDQ_CONS];
        while ((Registers[SmmuRegister.CR0] & CmdqEn) != 0 && !IsActive(0) && ((cons ^ Registers[SmmuRegister.CMDQ_PROD]) & wrapMask) != 0)
        {
            var at = QueueAddress(queue) + ((cons & (wrapMask >> 1)) * 16);
            var error = !Memory.Read64(at, out var low) || !Memory.Read64(at + 8, out var high) ? CommandAbort : Execute(low, high);
            if (error != 0)
            {
                cons = (cons & wrapMask) | ((ulong)error << 24);
                GlobalError(0);
                return;
            }

            cons = (cons + 1) & wrapMask;
        }
    }

    private uint Execute(ulong low, ulong high)
    {
        var stream = (ushort)(low >> 32);
        switch (low & 0xFF)
        {
            case 0x01: // PREFETCH_CONFIG
            case 0x02: // PREFETCH_ADDR
                return 0;
            case 0x03: // CFGI_STE
                InvalidateContexts(stream, 0xFFFF, null);
                return 0;
            case 0x04: // CFGI_STE_RANGE, CFGI_ALL
                var range = (int)(high & 31);
                InvalidateContexts(stream, range >= 15 ? 0 : ~((2 << range) - 1) & 0xFFFF, null);
                return 0;
            case 0x05: // CFGI_CD
                InvalidateContexts(stream, 0xFFFF, (uint)(low >> 12) & 0xF_FFFF);
                return 0;
            case 0x06: // CFGI_CD_ALL
                InvalidateContexts(stream, 0xFFFF, null);
                return 0;
            case >= 0x10 and <= 0x13 or 0x28 or 0x2a or 0x30 or 0x20 or 0x21 or 0x22:
                return InvalidateTlb(low, high);
            case 0x40 when _options.Ats:
                InvalidateDevice(low, high);
                return 0;
            case 0x41 when _options.Ats: // PRI_RESP: 0 deny, 1 fail, 2 success
                DeviceTlbOf(stream)?.PageResponse((low & 1 << 11) != 0 ? (uint)(low >> 12) & 0xF_FFFF : DmaRequest.NoPasid,
                    (ushort)(high & 0x1FF), (int)(high >> 12 & 3) switch { 2 => (byte)0, 0 => (byte)1, _ => (byte)15 });
                return 0;
            case 0x44 when _options.Stall: // RESUME: 0 terminate, 1 retry, 2 abort
                Resume((ushort)high, stream, (int)(low >> 12 & 3) == 1);
                return 0;
            case 0x45 when _options.Stall: // STALL_TERM
                ResumeAll(stream);
                return 0;
            case 0x46: // SYNC: everything before it is done already
                if ((low >> 12 & 3) == 1 && (high & 0x000F_FFFF_FFFF_FFFC) != 0 && !Memory.Write32(high & 0x000F_FFFF_FFFF_FFFC, (uint)(low >> 32)))
                    Interrupts?.Message(_options.UnitRequesterId, high & 0x000F_FFFF_FFFF_FFFC, (uint)(low >> 32));
                return 0;
            default:
                return CommandIllegal;
        }
    }

    private uint InvalidateTlb(ulong low, ulong high)
    {
        const ulong vmidMask = 0xFFFFUL << 16, asidMask = 0xFFFF;
        var vmid = (low >> 32 & 0xFFFF) << 16;
        var asid = low >> 48;
        // Stage-1 invalidations match by VMID only where there is a stage 2.
        switch (low & 0xFF)
        {
            case 0x10: // NH_ALL
                ForStage1(0, 0, vmid, null);
                return 0;
            case 0x11: // NH_ASID
                ForStage1(asid, asidMask, vmid, null);
                return 0;
            case 0x12: // NH_VA
                ForStage1(asid, asidMask, vmid, Range(low, high));
                return 0;
            case 0x13: // NH_VAA
                ForStage1(0, 0, vmid, Range(low, high));
                return 0;
            case 0x28: // S12_VMALL
                _ioTlb.Remove(vmid | Stage2Space, vmidMask | Stage2Space);
                return 0;
            case 0x2a: // S2_IPA: entries of both stages are kept by input address, so those of the VMID go as far as stage 2 alone is concerned
                var (first, last) = Range(low, high);
                _ioTlb.Remove(vmid | Stage2Space, vmidMask | Stage1Space | Stage2Space, first, last);
                return 0;
            case 0x30: // NSNH_ALL
                _ioTlb.Clear();
                return 0;
            default: // EL2 contexts do not exist here
                return CommandIllegal;
        }

        void ForStage1(ulong space, ulong mask, ulong id, (ulong First, ulong Last)? range)
        {
            Remove(space | Stage1Space, mask | Stage1Space | Stage2Space, range);
            Remove(space | Stage1Space | Stage2Space | id, mask | Stage1Space | Stage2Space | vmidMask, range);
        }

        void Remove(ulong space, ulong mask, (ulong First, ulong Last)? range)
        {
            if (range is { } r)
                _ioTlb.Remove(space, mask, r.First, r.Last);
            else
                _ioTlb.Remove(space, mask);
        }
    }

    // Range invalidation (IDR3.RIL): TG names the granule, the range has (NUM + 1) * 2^SCALE of them. TG = 0: the page at the address.
    private static (ulong First, ulong Last) Range(ulong low, ulong high)
    {
        var first = high & ~0xFFFUL;
        var granule = (int)(high >> 10 & 3) switch { 1 => 12, 2 => 14, 3 => 16, _ => 0 };
        if (granule == 0)
            return (first, first | 0xFFF);
        var pages = ((low >> 12 & 31) + 1) << (int)Math.Min(low >> 20 & 31, 39);
        var last = first + (pages << granule) - 1;
        return (first, last < first ? ulong.MaxValue : last);
    }

    private void InvalidateContexts(ushort stream, int mask, uint? substream)
    {
        for (var i = 0; i < _contexts.Length; i++)
        {
            if (_contexts[i] is { } context && ((context.StreamId ^ stream) & mask) == 0
                && (substream is not { } s || context.Substream == s || (s == 0 && context.Substream == DmaRequest.NoPasid)))
                _contexts[i] = null;
        }
    }

    // ATC_INV: 2^Size pages, Size 52 for everything.
    private void InvalidateDevice(ulong low, ulong high)
    {
        var size = (int)(high & 63);
        var mask = size >= 52 ? ulong.MaxValue : (1UL << (12 + size)) - 1;
        DeviceTlbOf((ushort)(low >> 32))?.Invalidate((low & 1 << 11) != 0 ? (uint)(low >> 12) & 0xF_FFFF : DmaRequest.NoPasid,
            high & ~0xFFFUL & ~mask, (high & ~0xFFFUL) | mask, (low & 1 << 9) != 0);
    }
}
