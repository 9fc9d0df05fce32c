namespace IommuFd.HwSim.Units;

// Data book section 11.4: the register page.
public sealed partial class VtdUnit
{
    private const uint Te = 1u << 31, Srtp = 1u << 30, Wbf = 1u << 27, Qie = 1u << 26, Ire = 1u << 25, Sirtp = 1u << 24, Cfi = 1u << 23;

    /// <summary>Bytes of the register page.</summary>
    public const int RegisterBytes = 0x1000;

    /// <summary>The registers, to look at; software goes through <see cref="ReadRegister"/> and <see cref="WriteRegister"/>.</summary>
    public RegisterFile Registers { get; }

    private RegisterFile DeclareRegisters()
    {
        var cap = 7UL                                                        // ND: 16-bit domain ids
            | ((_options.CachingMode ? 1UL : 0) << 7)
            | ((_options.AddressWidth switch { 39 => 2UL, 48 => 6UL, _ => 14UL }) << 8) // SAGAW
            | ((ulong)(_options.AddressWidth - 1) << 16)                     // MGAW
            | ((ulong)(VtdRegister.FRCD / 16) << 24)                         // FRO
            | ((ulong)(_options.LargePages & 3) << 34)                       // SLLPS
            | (1UL << 39)                                                    // PSI
            | ((ulong)(_options.FaultRecords - 1) << 40)                     // NFR
            | (18UL << 48)                                                   // MAMV
            | (1UL << 54) | (1UL << 55)                                      // DWD, DRD
            | ((_options.ScalableMode && _options.FirstStage ? 1UL : 0) << 56) // FS1GP
            | ((_options.ScalableMode && _options.FirstStage5 ? 1UL : 0) << 60); // FS5LP
        var scalable = _options.ScalableMode ? 1UL : 0;
        var ecap = 1UL | 2UL                                                 // C, QI
            | ((_options.DeviceTlb ? 1UL : 0) << 2)                          // DT
            | ((_options.PassThrough ? 1UL : 0) << 6)                        // PT
            | ((_options.SnoopControl ? 1UL : 0) << 7)                       // SC
            | ((ulong)(VtdRegister.IVA / 16) << 8)                           // IRO
            | ((scalable & (_options.Nesting ? 1UL : 0)) << 26)              // NEST
            | ((scalable & (_options.DeviceTlb ? 1UL : 0)) << 29)            // PRS
            | (scalable << 30)                                               // ERS
            | (scalable << 31)                                               // SRS
            | (scalable * (ulong)(_options.PasidBits - 1) << 35)             // PSS
            | (scalable << 40)                                               // PASID
            | ((scalable & (_options.DeviceTlb ? 1UL : 0)) << 42)            // PDS
            | (scalable << 43)                                               // SMTS
            | ((scalable & (_options.SecondStageDirty ? 1UL : 0)) << 45)     // SSADS
            | ((scalable & (_options.SecondStage ? 1UL : 0)) << 46)          // SSTS
            | ((scalable & (_options.FirstStage ? 1UL : 0)) << 47);          // FSTS
        var list = new List<RegisterDeclaration>
        {
            new("VER", VtdRegister.VER, 4, 0x60),
            new("CAP", VtdRegister.CAP, 8, cap),
            new("ECAP", VtdRegister.ECAP, 8, ecap),
            new("GCMD", VtdRegister.GCMD, 4, 0),
            new("GSTS", VtdRegister.GSTS, 4, 0),
            new("RTADDR", VtdRegister.RTADDR, 8, 0, ~0x3FFUL),
            new("CCMD", VtdRegister.CCMD, 8, 0, 0xE000_0003_FFFF_FFFF),
            new("FSTS", VtdRegister.FSTS, 4, 0, 0, 0x71),
            new("FECTL", VtdRegister.FECTL, 4, 0x8000_0000, 0x8000_0000),
            new("FEDATA", VtdRegister.FEDATA, 4, 0, 0xFFFF_FFFF),
            new("FEADDR", VtdRegister.FEADDR, 4, 0, 0xFFFF_FFFC),
            new("FEUADDR", VtdRegister.FEUADDR, 4, 0, 0xFFFF_FFFF),
            new("IQH", VtdRegister.IQH, 8, 0),
            new("IQT", VtdRegister.IQT, 8, 0, 0x7FFE0 | 0x10),
            new("IQA", VtdRegister.IQA, 8, 0, ~0x7F8UL),
            new("ICS", VtdRegister.ICS, 4, 0, 0, 1),
            new("IECTL", VtdRegister.IECTL, 4, 0x8000_0000, 0x8000_0000),
            new("IEDATA", VtdRegister.IEDATA, 4, 0, 0xFFFF_FFFF),
            new("IEADDR", VtdRegister.IEADDR, 4, 0, 0xFFFF_FFFC),
            new("IEUADDR", VtdRegister.IEUADDR, 4, 0, 0xFFFF_FFFF),
            new("IQERCD", VtdRegister.IQERCD, 8, 0),
            new("PQH", VtdRegister.PQH, 8, 0, 0x7FFE0),
            new("PQT", VtdRegister.PQT, 8, 0, 0x7FFE0),
            new("PQA", VtdRegister.PQA, 8, 0, ~0xFF8UL),
            new("PRS", VtdRegister.PRS, 4, 0, 0, 3),
            new("PECTL", VtdRegister.PECTL, 4, 0x8000_0000, 0x8000_0000),
            new("PEDATA", VtdRegister.PEDATA, 4, 0, 0xFFFF_FFFF),
            new("PEADDR", VtdRegister.PEADDR, 4, 0, 0xFFFF_FFFC),
            new("PEUADDR", VtdRegister.PEUADDR, 4, 0, 0xFFFF_FFFF),
            new("IVA", VtdRegister.IVA, 8, 0, ~0xF80UL),
            new("IOTLB", VtdRegister.IOTLB, 8, 0, 0xB003_FFFF_0000_0000),
        };
        for (var i = 0; i < _options.FaultRecords; i++)
        {
            list.Add(new($"FRCD{i}_LO", VtdRegister.FRCD + (16 * i), 8, 0));
            list.Add(new($"FRCD{i}_HI", VtdRegister.FRCD + (16 * i) + 8, 8, 0, 0, 1UL << 63));
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
                case VtdRegister.GCMD:
                    GlobalCommand((uint)written);
                    break;
                case VtdRegister.CCMD when (written & 1UL << 63) != 0:
                    InvalidateContextByRegister();
                    break;
                case VtdRegister.IOTLB when (written & 1UL << 63) != 0:
                    InvalidateIoTlbByRegister();
                    break;
                case VtdRegister.FSTS:
                case >= VtdRegister.FRCD:
                    FaultStatusWritten();
                    break;
                case VtdRegister.FECTL:
                    FaultControlWritten();
                    break;
                case VtdRegister.IQT:
                case VtdRegister.IQA:
                    RunQueue();
                    break;
                case VtdRegister.IECTL:
                case VtdRegister.ICS:
                    InvalidationControlWritten(register);
                    break;
                case VtdRegister.PRS:
                case VtdRegister.PECTL:
                    PageRequestRegisterWritten(register);
                    break;
                default:
                    break;
            }
        }

        SendPageEvent();
    }

    private void GlobalCommand(uint command)
    {
        ref var status = ref Registers[VtdRegister.GSTS];
        if ((command & Srtp) != 0)
        {
            var root = Registers[VtdRegister.RTADDR];
            _rootTable = root & AddressMask;
            _mode = (int)(root >> 10 & 3);
            status |= Srtp;
        }

        if ((command & (Wbf | Sirtp | Ire | Cfi)) != 0)
            Registers.Unmodelled.Add($"GCMD 0x{command:x8}: interrupt remapping and write-buffer flushing are not offered");
        var queue = (command & Qie) != 0;
        if (queue && (status & Qie) == 0)
            Registers[VtdRegister.IQH] = 0;
        status = (status & ~(ulong)(Te | Qie)) | (command & (Te | Qie));
        _translationEnabled = (command & Te) != 0;
        if (queue)
            RunQueue();
    }

    private void SendEvent(int data, int address, int upper) => Interrupts?.Message(
        _options.UnitRequesterId, Registers[address] | (Registers[upper] << 32), (uint)Registers[data]);
}
