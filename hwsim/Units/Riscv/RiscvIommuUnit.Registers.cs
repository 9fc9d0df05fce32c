namespace IommuFd.HwSim.Units;

// Chapter 6: the register page.
public sealed partial class RiscvIommuUnit
{
    private const ulong Enable = 1, InterruptEnable = 2, MemoryFault = 1 << 8, Overflow = 1 << 9, Illegal = 1 << 10,
        FenceWait = 1 << 11, On = 1 << 16;

    /// <summary>Bytes of the register page.</summary>
    public const int RegisterBytes = 0x1000;

    /// <summary>The registers, to look at; software goes through <see cref="ReadRegister"/> and <see cref="WriteRegister"/>.</summary>
    public RegisterFile Registers { get; }

    private RegisterFile DeclareRegisters()
    {
        var capabilities = 0x10UL
            | (_options.FirstStage ? 0xFUL << 8 : 0)
            | ((_options.Pbmt ? 1UL : 0) << 15)
            | (_options.SecondStage ? 0xFUL << 16 : 0)
            | ((_options.MsiFlat ? 1UL : 0) << 22)
            | ((_options.MsiFlat && _options.MsiMrif ? 1UL : 0) << 23)
            | ((_options.HardwareAccessedDirty ? 1UL : 0) << 24)
            | ((_options.Ats ? 1UL : 0) << 25)
            | ((_options.T2Gpa ? 1UL : 0) << 26)
            | (1UL << 31)
            | ((ulong)Memory.Options.AddressBits << 32)
            | ((ulong)(_options.ProcessDirectories & 7) << 38);
        var list = new List<RegisterDeclaration>
        {
            new("capabilities", RiscvRegister.capabilities, 8, capabilities),
            new("fctl", RiscvRegister.fctl, 4, 0, _options.SecondStage ? 4UL : 0),
            new("ddtp", RiscvRegister.ddtp, 8, 0),
            new("cqb", RiscvRegister.cqb, 8, 0, 0x003F_FFFF_FFFF_FC1F),
            new("cqh", RiscvRegister.cqh, 4, 0),
            new("cqt", RiscvRegister.cqt, 4, 0, 0xFFFF_FFFF),
            new("fqb", RiscvRegister.fqb, 8, 0, 0x003F_FFFF_FFFF_FC1F),
            new("fqh", RiscvRegister.fqh, 4, 0, 0xFFFF_FFFF),
            new("fqt", RiscvRegister.fqt, 4, 0),
            new("pqb", RiscvRegister.pqb, 8, 0, 0x003F_FFFF_FFFF_FC1F),
            new("pqh", RiscvRegister.pqh, 4, 0, 0xFFFF_FFFF),
            new("pqt", RiscvRegister.pqt, 4, 0),
            new("cqcsr", RiscvRegister.cqcsr, 4, 0, 3, 0xF00),
            new("fqcsr", RiscvRegister.fqcsr, 4, 0, 3, 0x300),
            new("pqcsr", RiscvRegister.pqcsr, 4, 0, 3, 0x300),
            new("ipsr", RiscvRegister.ipsr, 4, 0, 0, 0xF),
            new("tr_req_iova", RiscvRegister.tr_req_iova, 8, 0, ~0xFFFUL),
            new("tr_req_ctl", RiscvRegister.tr_req_ctl, 8, 0, 0xFFFF_FF01_FFFF_F00E),
            new("tr_response", RiscvRegister.tr_response, 8, 0),
            new("icvec", RiscvRegister.icvec, 8, 0, 0xFFFF),
        };
        for (var i = 0; i < 16; i++)
        {
            list.Add(new($"msi_addr_{i}", RiscvRegister.msi_cfg_tbl + (16 * i), 8, 0, 0x00FF_FFFF_FFFF_FFFC));
            list.Add(new($"msi_data_{i}", RiscvRegister.msi_cfg_tbl + (16 * i) + 8, 4, 0, 0xFFFF_FFFF));
            list.Add(new($"msi_vec_ctl_{i}", RiscvRegister.msi_cfg_tbl + (16 * i) + 12, 4, 0, 1));
        }

        return new RegisterFile(RegisterBytes, [.. list]);
    }

    /// <summary>Software reads a register.</summary>
    /// <param name="offset">Byte offset in the register page.</param>
    /// <param name="bytes">4 or 8.</param>
    public ulong ReadRegister(int offset, int bytes)
    {
        lock (_gate)
            return Registers.Read((ulong)offset, bytes);
    }

    /// <summary>Software writes a register; what it commands is done when this returns.</summary>
    /// <param name="offset">Byte offset in the register page.</param>
    /// <param name="bytes">4 or 8.</param>
    /// <param name="value">The value.</param>
    public void WriteRegister(int offset, int bytes, ulong value)
    {
        lock (_gate)
        {
            var register = Registers.Write((ulong)offset, bytes, value, out var written);
            switch (register)
            {
                case RiscvRegister.ddtp:
                    SetDirectory(bytes == 8
                        ? written
                        : written | (Registers[register] & ~(offset == register ? 0xFFFF_FFFFUL : 0xFFFF_FFFFUL << 32)));
                    break;
                case RiscvRegister.cqcsr:
                    Switch(register, RiscvRegister.cqh, RiscvRegister.cqt);
                    RunCommands();
                    break;
                case RiscvRegister.fqcsr:
                    Switch(register, RiscvRegister.fqh, RiscvRegister.fqt);
                    break;
                case RiscvRegister.pqcsr:
                    Switch(register, RiscvRegister.pqh, RiscvRegister.pqt);
                    break;
                case RiscvRegister.cqt:
                    Registers[register] &= QueueMask(RiscvRegister.cqb);
                    RunCommands();
                    break;
                case RiscvRegister.fqh:
                    Registers[register] &= QueueMask(RiscvRegister.fqb);
                    break;
                case RiscvRegister.pqh:
                    Registers[register] &= QueueMask(RiscvRegister.pqb);
                    break;
                case RiscvRegister.ipsr:
                    Repend();
                    break;
                case RiscvRegister.tr_req_ctl when (written & 1) != 0:
                    RunDebugRequest();
                    break;
                default:
                    break;
            }
        }
    }

    // ddtp.iommu_mode: 0 Off, 1 Bare, 2 to 4 directories of 1 to 3 levels. A mode that is not there leaves the register as it was, and so does
    // a change from one directory mode to another: it goes through Off or Bare (section 6.5).
    private void SetDirectory(ulong value)
    {
        var mode = (int)(value & 15);
        if (mode > 4 || (mode >= 2 && _mode >= 2 && mode != _mode))
            return;
        Registers[RiscvRegister.ddtp] = value & (0x003F_FFFF_FFFF_FC00 | 15);
        _directory = (value & 0x003F_FFFF_FFFF_FC00) << 2;
        _mode = mode;
    }

    private void Switch(int csr, int head, int tail)
    {
        ref var value = ref Registers[csr];
        if ((value & Enable) != 0 && (value & On) == 0)
        {
            value |= On;
            // The unit's own index starts at 0, and so do the error bits.
            Registers[csr == RiscvRegister.cqcsr ? head : tail] = 0;
            value &= ~(MemoryFault | Overflow | Illegal | FenceWait);
        }
        else if ((value & Enable) == 0)
        {
            value &= ~On;
        }
    }

    private ulong QueueMask(int queueBase) => (2UL << (int)(Registers[queueBase] & 31)) - 1;

    private ulong QueueAddress(int queueBase) => (Registers[queueBase] & 0x003F_FFFF_FFFF_FC00) << 2;

    // Interrupt causes: 0 command queue, 1 fault queue, 3 page-request queue. ipsr stays set until software clears it; then a standing condition sets
    // it again.
    private void Interrupt(int cause)
    {
        ref var pending = ref Registers[RiscvRegister.ipsr];
        if ((pending >> cause & 1) != 0)
            return;
        pending |= 1UL << cause;
        var vector = (int)(Registers[RiscvRegister.icvec] >> (4 * cause) & 15);
        var entry = RiscvRegister.msi_cfg_tbl + (16 * vector);
        if ((Registers[entry + 12] & 1) == 0)
            Interrupts?.Message(_options.UnitRequesterId, Registers[entry], (uint)Registers[entry + 8]);
    }

    private void Repend()
    {
        if ((Registers[RiscvRegister.cqcsr] & InterruptEnable) != 0 && (Registers[RiscvRegister.cqcsr] & (MemoryFault | Illegal | FenceWait)) != 0)
            Interrupt(0);
        if ((Registers[RiscvRegister.fqcsr] & InterruptEnable) != 0 && (Registers[RiscvRegister.fqcsr] & (MemoryFault | Overflow)) != 0)
            Interrupt(1);
        if ((Registers[RiscvRegister.pqcsr] & InterruptEnable) != 0 && (Registers[RiscvRegister.pqcsr] & (MemoryFault | Overflow)) != 0)
            Interrupt(3);
    }

    // The translation-request interface (section 6.26): a request of a device without the device.
    private void RunDebugRequest()
    {
        var control = Registers[RiscvRegister.tr_req_ctl];
        var access = (control & 8) != 0 ? DmaAccess.Read : DmaAccess.Read | DmaAccess.Write;
        if ((control & 4) != 0)
            access |= DmaAccess.Execute;
        if ((control & 2) != 0 && (control & 1UL << 32) != 0)
            access |= DmaAccess.Privileged;
        var pasid = (control & 1UL << 32) != 0 ? (uint)(control >> 12) & 0xF_FFFF : DmaRequest.NoPasid;
        var request = new DmaRequest((ushort)(control >> 40), pasid, Registers[RiscvRegister.tr_req_iova], access);
        ref var response = ref Registers[RiscvRegister.tr_response];
        if (control >> 56 != 0 || !Translate(request, out var translation))
        {
            response = 1;
            return;
        }

        // A page larger than 4 KiB has S set and its size in the low bits of the PPN: the lowest zero bit ends it.
        var size = Math.Min(translation.SizeLg2, 52);
        var ppn = translation.Output >> 12;
        if (size > 12)
            ppn = (ppn & ~((1UL << (size - 12)) - 1)) | ((1UL << (size - 13)) - 1);
        response = (ppn << 10 & 0x003F_FFFF_FFFF_FC00) | (size > 12 ? 1UL << 9 : 0);
    }
}
