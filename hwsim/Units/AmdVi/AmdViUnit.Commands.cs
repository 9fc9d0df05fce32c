namespace IommuFd.HwSim.Units;

// Section 2.4: commands.
public sealed partial class AmdViUnit
{
    private void RunCommands()
    {
        ref var status = ref Registers[AmdRegister.STATUS];
        ref var head = ref Registers[AmdRegister.CMD_HEAD];
        var buffer = Registers[AmdRegister.CMD_BUF_BASE];
        var bytes = LogBytes(buffer);
        while ((status & CmdBufRun) != 0 && head != Registers[AmdRegister.CMD_TAIL])
        {
            var at = (buffer & 0x000F_FFFF_FFFF_F000) + (head % bytes);
            if (!Memory.Read64(at, out var low) || !Memory.Read64(at + 8, out var high))
                Stop(AmdEvent.COMMAND_HARDWARE_ERROR, at, ref status);
            else if (!Execute(low, high, ref status))
                Stop(AmdEvent.ILLEGAL_COMMAND_ERROR, at, ref status);
            else
                head = (head + 16) % bytes;
        }
    }

    private void Stop(AmdEvent code, ulong address, ref ulong status)
    {
        status &= ~CmdBufRun;
        WriteEvent((ulong)code << 60, address);
    }

    private bool Execute(ulong low, ulong high, ref ulong status)
    {
        switch (low >> 60)
        {
            case 1: // COMPLETION_WAIT
                if ((low & 1) != 0 && !Memory.Write64(low & 0x000F_FFFF_FFFF_FFF8, high))
                    return false;
                if ((low & 2) != 0)
                {
                    status |= ComWaitInt;
                    if ((Registers[AmdRegister.CONTROL] & ComWaitIntEn) != 0)
                        RaiseInterrupt();
                }

                return true;
            case 2: // INVALIDATE_DEVTAB_ENTRY
                for (var i = 0; i < _contexts.Length; i++)
                {
                    if (_contexts[i]?.DeviceId == (ushort)low)
                        _contexts[i] = null;
                }

                return true;
            case 3: // INVALIDATE_IOMMU_PAGES
                InvalidatePages((ushort)(low >> 32), (uint)low & 0xF_FFFF, high);
                return true;
            case 4 when _options.Ppr: // INVALIDATE_IOTLB_PAGES
                InvalidateDevice(low, high);
                return true;
            case 5: // INVALIDATE_INTERRUPT_TABLE: there is none
            case 6: // PREFETCH_IOMMU_PAGES: a hint
                return true;
            case 7 when _options.Ppr: // COMPLETE_PPR_REQUEST
                DeviceTlbOf((ushort)low)?.PageResponse(
                    (high & 4) != 0 ? (uint)(low >> 32) & 0xF_FFFF : DmaRequest.NoPasid, (ushort)(high >> 32 & 0x1FF), (byte)(high >> 44 & 15));
                return true;
            case 8: // INVALIDATE_IOMMU_ALL
                _ioTlb.Clear();
                Array.Clear(_contexts);
                return true;
            default:
                return false;
        }
    }

    // S: the size is in the address, its lowest zero bit from bit 12 up ends it. GN: of one PASID.
    private static (ulong First, ulong Last) Range(ulong high)
    {
        var address = high & ~0xFFFUL;
        if ((high & 1) == 0)
            return (address, address | 0xFFF);
        var ones = LowestZero(address >> 12);
        var size = ones >= 50 ? ulong.MaxValue : (1UL << (13 + ones)) - 1;
        return (address & ~size, address | size);
    }

    private void InvalidatePages(ushort domain, uint pasid, ulong high)
    {
        var (first, last) = Range(high);
        if ((high & 4) != 0)
        {
            _ioTlb.Remove(domain | ((ulong)pasid + 1) << 16 | GuestSpace, 0xFFFF | 0x1F_FFFFUL << 16 | GuestSpace, first, last);
            return;
        }

        _ioTlb.Remove(domain, 0xFFFF | GuestSpace, first, last);
        // Nested translations are kept by guest virtual address: a host address can be under any of them.
        _ioTlb.Remove(domain | GuestSpace, 0xFFFF | GuestSpace);
    }

    private void InvalidateDevice(ulong low, ulong high)
    {
        var (first, last) = Range(high);
        var pasid = (high & 4) != 0 ? (uint)(low >> 16 & 0xFF) << 8 | (uint)(low >> 48 & 0xFF) : DmaRequest.NoPasid;
        DeviceTlbOf((ushort)low)?.Invalidate(pasid, first, last, false);
    }
}
