namespace IommuFd.HwSim.Units;

// Queued invalidation: data book section 6.5.2.
public sealed partial class VtdUnit
{
    private const uint Iqe = 1 << 4;
    private const ulong FirstStageOnly = 1UL << 40, NestedSpace = 1UL << 41, KindBits = FirstStageOnly | NestedSpace;
    private const ulong PasidBitsOfSpace = 0x1F_FFFFUL << 16;

    private void RunQueue()
    {
        if ((Registers[VtdRegister.GSTS] & Qie) == 0 || (Registers[VtdRegister.FSTS] & Iqe) != 0)
            return;
        var address = Registers[VtdRegister.IQA];
        var wide = (address & 1 << 11) != 0;
        var entry = wide ? 32UL : 16UL;
        var bytes = 4096UL << (int)(address & 7);
        ref var head = ref Registers[VtdRegister.IQH];
        var tail = Registers[VtdRegister.IQT];
        if (tail >= bytes || tail % entry != 0)
        {
            QueueError(1);
            return;
        }

        while (head != tail)
        {
            var at = (address & AddressMask) + head;
            if (!Memory.Read64(at, out var low) || !Memory.Read64(at + 8, out var high))
            {
                QueueError(2);
                return;
            }

            if (!Execute(low, high))
            {
                QueueError(3);
                return;
            }

            head = (head + entry) % bytes;
        }
    }

    // IQERCD.IQEI: 1 invalid tail, 2 error reading a descriptor, 3 invalid descriptor.
    private void QueueError(uint code)
    {
        Registers[VtdRegister.IQERCD] = code;
        ref var status = ref Registers[VtdRegister.FSTS];
        var pending = (status & 0x73) != 0;
        status |= Iqe;
        if (!pending)
            FaultEvent();
    }

    private bool Execute(ulong low, ulong high)
    {
        var granularity = (int)(low >> 4 & 3);
        var domain = (ushort)(low >> 16);
        var pasid = (uint)(low >> 32) & 0xF_FFFF;
        var scalable = _options.ScalableMode;
        switch ((low & 15) | (low >> 5 & 0x70))
        {
            case 1: // context cache
                InvalidateContexts(granularity, domain, (ushort)(low >> 32), (int)(low >> 48 & 3));
                return granularity != 0;
            case 2: // IOTLB
                InvalidateIoTlb(granularity, domain, high & ~0xFFFUL, (int)(high & 0x3F));
                return granularity != 0;
            case 3 when _options.DeviceTlb: // device TLB
                InvalidateDeviceTlb((ushort)(low >> 32), DmaRequest.NoPasid, high, (high & 1) != 0, false);
                return true;
            case 4: // interrupt entry cache: there is none
                return true;
            case 5: // wait
                return Wait(low, high);
            case 6 when scalable: // PASID-based IOTLB
                InvalidatePasidIoTlb(granularity, domain, pasid, high & ~0xFFFUL, (int)(high & 0x3F));
                return granularity >= 2;
            case 7 when scalable: // PASID cache
                InvalidatePasidCache(granularity, domain, pasid);
                return granularity != 2;
            case 8 when scalable && _options.DeviceTlb: // PASID-based device TLB
                InvalidateDeviceTlb((ushort)(low >> 16), pasid, high, (high & 1 << 11) != 0, (high & 1) != 0);
                return true;
            case 9 when scalable && _options.DeviceTlb: // page group response
                DeviceTlbOf((ushort)(low >> 16))?.PageResponse((low & 16) != 0 ? pasid : DmaRequest.NoPasid, (ushort)(high >> 3 & 0x1FF),
                    (byte)(low >> 12 & 15));
                return true;
            default:
                return false;
        }
    }

    private bool Wait(ulong low, ulong high)
    {
        if ((low & 1 << 5) != 0 && !Memory.Write32(high & ~3UL, (uint)(low >> 32)))
            return false;
        if ((low & 1 << 4) == 0 || (Registers[VtdRegister.ICS] & 1) != 0)
            return true;
        Registers[VtdRegister.ICS] |= 1;
        Registers[VtdRegister.IECTL] |= 1UL << 30;
        InvalidationControlWritten(VtdRegister.IECTL);
        return true;
    }

    private void InvalidationControlWritten(int register)
    {
        ref var control = ref Registers[VtdRegister.IECTL];
        if (register == VtdRegister.ICS)
        {
            if ((Registers[VtdRegister.ICS] & 1) == 0)
                control &= ~(1UL << 30);
        }
        else if ((control & 3UL << 30) == 1UL << 30)
        {
            control &= ~(1UL << 30);
            SendEvent(VtdRegister.IEDATA, VtdRegister.IEADDR, VtdRegister.IEUADDR);
        }
    }

    // 2 = all of a PASID, 3 = pages of a PASID: first-stage and nested translations.
    private void InvalidatePasidIoTlb(int granularity, ushort domain, uint pasid, ulong address, int mask)
    {
        var space = domain | (((ulong)pasid + 1) << 16);
        if (granularity == 2)
        {
            _ioTlb.Remove(space, 0xFFFF | PasidBitsOfSpace);
        }
        else if (granularity == 3)
        {
            var size = (1UL << (12 + Math.Min(mask, 51))) - 1;
            _ioTlb.Remove(space, 0xFFFF | PasidBitsOfSpace, address & ~size, address | size);
        }
    }

    // 0 = all PASIDs of a domain, 1 = one PASID of a domain, 3 = all.
    private void InvalidatePasidCache(int granularity, ushort domain, uint pasid)
    {
        for (var i = 0; i < _contexts.Length; i++)
        {
            var context = _contexts[i];
            if (context == null)
                continue;
            var itsPasid = context.Pasid != DmaRequest.NoPasid ? context.Pasid : context.Device?.RidPasid ?? DmaRequest.NoPasid;
            if (granularity == 3 || (context.DomainId == domain && (granularity == 0 || itsPasid == pasid)))
                _contexts[i] = null;
        }
    }

    // With S set the address encodes the size: the lowest zero bit from bit 12 up ends it.
    private void InvalidateDeviceTlb(ushort sourceId, uint pasid, ulong address, bool sized, bool global)
    {
        var first = address & ~0xFFFUL;
        ulong size = 0xFFF;
        if (sized)
        {
            var ones = (int)ulong.TrailingZeroCount(~(first >> 12));
            size = ones >= 51 ? ulong.MaxValue : (1UL << (13 + ones)) - 1;
        }

        DeviceTlbOf(sourceId)?.Invalidate(pasid, first & ~size, first | size, global);
    }
}
