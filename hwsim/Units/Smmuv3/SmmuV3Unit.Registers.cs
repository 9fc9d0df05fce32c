namespace IommuFd.HwSim.Units;

// Chapter 6: two register pages of 64 KiB.
public sealed partial class SmmuV3Unit
{
    private const ulong SmmuEn = 1, PriqEn = 2, EventqEn = 4, CmdqEn = 8;

    /// <summary>Bytes of the register pages.</summary>
    public const int RegisterBytes = 0x20000;

    /// <summary>The registers, to look at; software goes through <see cref="ReadRegister"/> and <see cref="WriteRegister"/>.</summary>
    public RegisterFile Registers { get; }

    private RegisterFile DeclareRegisters()
    {
        var idr0 = (_options.Stage2 ? 1u : 0) | (_options.Stage1 ? 2u : 0)
            | (2u << 2)                                              // TTF: AArch64
            | (1u << 4)                                              // COHACC
            | ((_options.HardwareAccessedDirty ? 2u : 0) << 6)       // HTTU
            | ((_options.Ats ? 1u : 0) << 10)                        // ATS
            | (1u << 12) | (1u << 13)                                // ASID16, MSI
            | ((_options.Ats ? 1u : 0) << 16)                        // PRI
            | (1u << 18) | (1u << 19)                                // VMID16, CD2L
            | (2u << 21)                                             // TTENDIAN: little
            | ((_options.Stall ? 0 : 1u) << 24)                      // STALL_MODEL
            | (1u << 26)                                             // TERM_MODEL: aborts only
            | (1u << 27);                                            // ST_LEVEL: two levels
        var idr1 = 16u | ((uint)_options.SubstreamBits << 6) | ((_options.Ats ? 19u : 0) << 11) | (19u << 16) | (19u << 21);
        var oas = _options.OutputBits switch { 32 => 0u, 36 => 1u, 40 => 2u, 42 => 3u, 44 => 4u, 48 => 5u,
            _ => throw new ArgumentException("An SMMUv3 here has 32, 36, 40, 42, 44 or 48 output bits.") };
        var list = new RegisterDeclaration[]
        {
            new("IDR0", SmmuRegister.IDR0, 4, idr0),
            new("IDR1", SmmuRegister.IDR1, 4, idr1),
            new("IDR2", 0x08, 4, 0),
            new("IDR3", SmmuRegister.IDR3, 4, (1 << 2) | (1 << 10)), // HAD, RIL
            new("IDR4", 0x10, 4, 0),
            new("IDR5", SmmuRegister.IDR5, 4, oas | ((ulong)(_options.Granules & 7) << 4)),
            new("IIDR", 0x18, 4, 0),
            new("AIDR", SmmuRegister.AIDR, 4, 2),                    // SMMUv3.2
            new("CR0", SmmuRegister.CR0, 4, 0, 0x1DF),
            new("CR0ACK", SmmuRegister.CR0ACK, 4, 0),
            new("CR1", SmmuRegister.CR1, 4, 0, 0xFFF),
            new("CR2", SmmuRegister.CR2, 4, 0, 7),
            new("STATUSR", 0x40, 4, 0),
            new("GBPA", SmmuRegister.GBPA, 4, 0x1000, 0),
            new("IRQ_CTRL", SmmuRegister.IRQ_CTRL, 4, 0, 7),
            new("IRQ_CTRLACK", SmmuRegister.IRQ_CTRLACK, 4, 0),
            new("GERROR", SmmuRegister.GERROR, 4, 0),
            new("GERRORN", SmmuRegister.GERRORN, 4, 0, 0x1FF),
            new("GERROR_IRQ_CFG0", SmmuRegister.GERROR_IRQ_CFG0, 8, 0, 0x000F_FFFF_FFFF_FFFC),
            new("GERROR_IRQ_CFG1", SmmuRegister.GERROR_IRQ_CFG1, 4, 0, 0xFFFF_FFFF),
            new("GERROR_IRQ_CFG2", 0x74, 4, 0, 0x3F),
            new("STRTAB_BASE", SmmuRegister.STRTAB_BASE, 8, 0, 0x400F_FFFF_FFFF_FFC0),
            new("STRTAB_BASE_CFG", SmmuRegister.STRTAB_BASE_CFG, 4, 0, 0x307FF),
            new("CMDQ_BASE", SmmuRegister.CMDQ_BASE, 8, 0, 0x400F_FFFF_FFFF_FFFF),
            new("CMDQ_PROD", SmmuRegister.CMDQ_PROD, 4, 0, 0xFFFFF),
            new("CMDQ_CONS", SmmuRegister.CMDQ_CONS, 4, 0, 0x7F0FFFFF),
            new("EVENTQ_BASE", SmmuRegister.EVENTQ_BASE, 8, 0, 0x400F_FFFF_FFFF_FFFF),
            new("EVENTQ_IRQ_CFG0", SmmuRegister.EVENTQ_IRQ_CFG0, 8, 0, 0x000F_FFFF_FFFF_FFFC),
            new("EVENTQ_IRQ_CFG1", SmmuRegister.EVENTQ_IRQ_CFG1, 4, 0, 0xFFFF_FFFF),
            new("EVENTQ_IRQ_CFG2", 0xbc, 4, 0, 0x3F),
            new("PRIQ_BASE", SmmuRegister.PRIQ_BASE, 8, 0, 0x400F_FFFF_FFFF_FFFF),
            new("PRIQ_IRQ_CFG0", SmmuRegister.PRIQ_IRQ_CFG0, 8, 0, 0x000F_FFFF_FFFF_FFFC),
            new("PRIQ_IRQ_CFG1", SmmuRegister.PRIQ_IRQ_CFG1, 4, 0, 0xFFFF_FFFF),
            new("PRIQ_IRQ_CFG2", 0xdc, 4, 0, 0x8000003F),
            new("EVENTQ_PROD", SmmuRegister.EVENTQ_PROD, 4, 0, 0x800FFFFF),
            new("EVENTQ_CONS", SmmuRegister.EVENTQ_CONS, 4, 0, 0x800FFFFF),
            new("PRIQ_PROD", SmmuRegister.PRIQ_PROD, 4, 0, 0x800FFFFF),
            new("PRIQ_CONS", SmmuRegister.PRIQ_CONS, 4, 0, 0x800FFFFF),
        };
        return new RegisterFile(RegisterBytes, list);
    }

    /// <summary>Software reads a register.</summary>
    /// <param name="offset">Byte offset from the first page.</param>
    /// <param name="bytes">4 or 8.</param>
    public ulong ReadRegister(int offset, int bytes)
    {
        lock (_gate)
            return Registers.Read((ulong)offset, bytes);
    }

    /// <summary>Software writes a register; what it commands is done when this returns.</summary>
    /// <param name="offset">Byte offset from the first page.</param>
    /// <param name="bytes">4 or 8.</param>
    /// <param name="value">The value.</param>
    public void WriteRegister(int offset, int bytes, ulong value)
    {
        lock (_gate)
        {
            var register = Registers.Write((ulong)offset, bytes, value, out var written);
            switch (register)
            {
                case SmmuRegister.CR0:
                    Registers[SmmuRegister.CR0ACK] = Registers[SmmuRegister.CR0];
                    _enabled = (Registers[SmmuRegister.CR0] & SmmuEn) != 0;
                    RunCommands();
                    break;
                case SmmuRegister.IRQ_CTRL:
                    Registers[SmmuRegister.IRQ_CTRLACK] = Registers[SmmuRegister.IRQ_CTRL];
                    break;
                case SmmuRegister.GBPA when (written & 1UL << 31) != 0:
                    Registers[SmmuRegister.GBPA] = written & 0x001F_3F1F;
                    _bypassAborts = (written & 1 << 20) != 0;
                    break;
                case SmmuRegister.CMDQ_PROD:
                case SmmuRegister.GERRORN:
                    RunCommands();
                    break;
                default:
                    break;
            }
        }
    }

    // An error stays active from the moment its bit in GERROR differs from GERRORN until software makes them equal.
    private bool IsActive(int error) => ((Registers[SmmuRegister.GERROR] ^ Registers[SmmuRegister.GERRORN]) >> error & 1) != 0;

    private void GlobalError(int error)
    {
        if (IsActive(error))
            return;
        Registers[SmmuRegister.GERROR] ^= 1UL << error;
        if ((Registers[SmmuRegister.IRQ_CTRL] & 1) != 0)
            SendEvent(SmmuRegister.GERROR_IRQ_CFG0, SmmuRegister.GERROR_IRQ_CFG1);
    }

    private void SendEvent(int address, int data)
    {
        if (Registers[address] != 0)
            Interrupts?.Message(_options.UnitRequesterId, Registers[address], (uint)Registers[data]);
    }
}
