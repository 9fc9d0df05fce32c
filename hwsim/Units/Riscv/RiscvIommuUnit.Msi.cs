namespace IommuFd.HwSim.Units;

// MSI translation: section 2.3.3 step "MSI address translation" and section 2.1.3.6, with the Advanced Interrupt Architecture's MSI page tables.
public sealed partial class RiscvIommuUnit
{
    private RiscvFault TranslateMessage(in DmaRequest request, RiscvContext context, ulong guest, out DmaTranslation translation)
    {
        translation = default;
        // The interrupt file number: the bits of the page number under the mask, packed together.
        ulong file = 0;
        var bit = 0;
        for (var mask = context.MsiMask; mask != 0; mask &= mask - 1)
            file |= (guest >> 12 >> (int)ulong.TrailingZeroCount(mask) & 1) << bit++;
        var at = context.MsiTable + (file * 16);
        if (!Memory.Read64(at, out var low) || !Memory.Read64(at + 8, out var high))
            return new RiscvFault(RiscvCause.MsiLoad);
        if ((low & 1) == 0)
            return new RiscvFault(RiscvCause.MsiNotValid);
        var mode = (int)(low >> 1 & 3);
        var isMrif = mode == 1 && _options.MsiMrif;
        if (low >> 63 != 0 || (mode != 3 && !isMrif) || (mode == 3 && ((low & 0x7FC0_0000_0000_03F8) != 0 || high != 0))
            || (isMrif && ((low & 0x7FC0_0000_0000_0078) != 0 || (high & 0xEFC0_0000_0000_0000) != 0)))
            return new RiscvFault(RiscvCause.MsiMisconfigured);
        // An interrupt file takes aligned writes of 4 bytes; instruction fetches from it are never allowed.
        if ((request.Access & DmaAccess.Execute) != 0)
            return new RiscvFault(RiscvCause.InstructionAccess);
        translation.SizeLg2 = 12;
        translation.Allowed = DmaAccess.Read | DmaAccess.Write;
        translation.IsMessage = true;
        if (isMrif)
        {
            translation.Output = (low & 0x003F_FFFF_FFFF_FF80) << 2 | (guest & 0xFFF) << 52;
            translation.Notice = (high & PpnOfPointer) << 2;
            translation.NoticeId = (uint)(high & 0x3FF) | (uint)(high >> 60 & 1) << 10;
            return default;
        }

        translation.Output = (low & PpnOfPointer) << 2 | (guest & 0xFFF);
        return default;
    }

    /// <inheritdoc/>
    protected override DmaStatus WriteMessage(in DmaRequest request, in DmaTranslation translation, uint data, ulong length)
    {
        if (translation.Notice == 0 && translation.NoticeId == 0)
        {
            Interrupts?.Message(request.RequesterId, translation.Output, data);
            return DmaStatus.Success;
        }

        // A memory-resident interrupt file: 32 pairs of 64 pending and 64 enable bits. Only a write of 4 bytes to offset 0 means anything.
        var file = translation.Output & 0x000F_FFFF_FFFF_FFFF;
        if (translation.Output >> 52 != 0 || length != 4 || data > 2047)
            return DmaStatus.Success;
        lock (_gate)
        {
            var at = file + (data / 64 * 16);
            if (!Memory.Read64(at, out var pending) || !Memory.Read64(at + 8, out var enabled)
                || !Memory.Write64(at, pending | 1UL << (int)(data % 64)))
            {
                RecordFault(request, new RiscvFault(RiscvCause.MrifAccess));
                return DmaStatus.Fault;
            }

            if ((enabled >> (int)(data % 64) & 1) != 0)
                Interrupts?.Message(request.RequesterId, translation.Notice, translation.NoticeId);
            return DmaStatus.Success;
        }
    }
}
