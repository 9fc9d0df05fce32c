using System.Numerics;

namespace IommuFd.HwSim.Units;

// Section 3.4: the MMIO registers.
public sealed partial class AmdViUnit
{
    private const ulong IommuEn = 1, EventLogEn = 1 << 2, EventIntEn = 1 << 3, ComWaitIntEn = 1 << 4, CmdBufEn = 1 << 12, PprLogEn = 1 << 13,
        PprIntEn = 1 << 14, PprEn = 1 << 15;

    private const ulong EventOverflow = 1, EventLogInt = 2, ComWaitInt = 4, EventLogRun = 8, CmdBufRun = 16, PprOverflow = 32,
        PprInt = 64, PprLogRun = 128;

    /// <summary>Bytes of the register space that is modelled.</summary>
    public const int RegisterBytes = 0x4000;

    /// <summary>The registers, to look at; software goes through <see cref="ReadRegister"/> and <see cref="WriteRegister"/>.</summary>
    public RegisterFile Registers { get; }

    private RegisterFile DeclareRegisters()
    {
        var features = (_options.Ppr ? 1UL << 1 : 0)
            | 1UL << 3                                                             // NXSup
            | (_options.GuestTranslation ? 1UL << 4 : 0)                           // GTSup
            | 1UL << 6                                                             // IASup
            | (ulong)(_options.HostLevels - 4) << 10                               // HATS
            | (_options.GuestTranslation ? (ulong)(_options.GuestLevels - 4) << 12 : 0) // GATS
            | (_options.GuestTranslation ? (ulong)(_options.GcrLevels - 1) << 14 : 0)   // GLXSup
            | (_options.GuestTranslation ? 19UL << 32 : 0)                         // PASmax: 20 bits
            | (_options.GuestTranslation ? 1UL << 48 : 0)                          // GIoSup
            | (_options.HostAccessedDirty ? 1UL << 49 | 1UL << 52 : 0);            // HASup, HDSup
        return new RegisterFile(
            RegisterBytes,
            new("DEV_TAB_BASE", AmdRegister.DEV_TAB_BASE, 8, 0, 0x000F_FFFF_FFFF_F1FF),
            new("CMD_BUF_BASE", AmdRegister.CMD_BUF_BASE, 8, 8UL << 56, 0x0F0F_FFFF_FFFF_F000),
            new("EVT_LOG_BASE", AmdRegister.EVT_LOG_BASE, 8, 8UL << 56, 0x0F0F_FFFF_FFFF_F000),
            new("CONTROL", AmdRegister.CONTROL, 8, 0, 0x1FFFF),
            new("EXT_FEATURES", AmdRegister.EXT_FEATURES, 8, features),
            new("PPR_LOG_BASE", AmdRegister.PPR_LOG_BASE, 8, 8UL << 56, 0x0F0F_FFFF_FFFF_F000),
            new("MSI_ADDR_LO", AmdRegister.MSI_ADDR_LO, 4, 0, 0xFFFF_FFFC),
            new("MSI_ADDR_HI", AmdRegister.MSI_ADDR_HI, 4, 0, 0xFFFF_FFFF),
            new("MSI_DATA", AmdRegister.MSI_DATA, 4, 0, 0xFFFF),
            new("CMD_HEAD", AmdRegister.CMD_HEAD, 8, 0, 0x7FFF0),
            new("CMD_TAIL", AmdRegister.CMD_TAIL, 8, 0, 0x7FFF0),
            new("EVT_HEAD", AmdRegister.EVT_HEAD, 8, 0, 0x7FFF0),
            new("EVT_TAIL", AmdRegister.EVT_TAIL, 8, 0, 0x7FFF0),
            new("STATUS", AmdRegister.STATUS, 8, 0, 0, EventOverflow | EventLogInt | ComWaitInt | PprOverflow | PprInt),
            new("PPR_HEAD", AmdRegister.PPR_HEAD, 8, 0, 0x7FFF0),
            new("PPR_TAIL", AmdRegister.PPR_TAIL, 8, 0, 0x7FFF0));
    }

    /// <summary>Software reads a register.</summary>
    /// <param name="offset">Byte offset.</param>
    /// <param name="bytes">4 or 8.</param>
    public ulong ReadRegister(int offset, int bytes)
    {
        lock (_gate)
            return Registers.Read((ulong)offset, bytes);
    }

    /// <summary>Software writes a register; what it commands is done when this returns.</summary>
    /// <param name="offset">Byte offset.</param>
    /// <param name="bytes">4 or 8.</param>
    /// <param name="value">The value.</param>
    public void WriteRegister(int offset, int bytes, ulong value)
    {
        lock (_gate)
        {
            switch (Registers.Write((ulong)offset, bytes, value, out _))
            {
                case AmdRegister.CONTROL:
                    ControlWritten();
                    break;
                case AmdRegister.CMD_TAIL:
                    RunCommands();
                    break;
                case AmdRegister.CMD_BUF_BASE:
                    Registers[AmdRegister.CMD_HEAD] = Registers[AmdRegister.CMD_TAIL] = 0;
                    break;
                case AmdRegister.EVT_LOG_BASE:
                    Registers[AmdRegister.EVT_HEAD] = Registers[AmdRegister.EVT_TAIL] = 0;
                    break;
                case AmdRegister.PPR_LOG_BASE:
                    Registers[AmdRegister.PPR_HEAD] = Registers[AmdRegister.PPR_TAIL] = 0;
                    break;
                default:
                    break;
            }
        }
    }

    private void ControlWritten()
    {
        var control = Registers[AmdRegister.CONTROL];
        ref var status = ref Registers[AmdRegister.STATUS];
        _enabled = (control & IommuEn) != 0;
        // A log or the command buffer runs from the moment it is enabled; after an error it is to be disabled and enabled again.
        Follow(ref status, control, EventLogEn, EventLogRun);
        Follow(ref status, control, CmdBufEn, CmdBufRun);
        Follow(ref status, control, PprLogEn, PprLogRun);
        _lastControl = control;
        RunCommands();
    }

    private ulong _lastControl;

    private void Follow(ref ulong status, ulong control, ulong enable, ulong run)
    {
        if ((control & IommuEn) == 0 || (control & enable) == 0)
            status &= ~run;
        else if ((_lastControl & enable) == 0 || (_lastControl & IommuEn) == 0)
            status |= run;
    }

    // The length field gives log2 of the number of 16-byte entries, 8 (4 KiB) to 15.
    private static ulong LogBytes(ulong logBase) => 16UL << (int)Math.Clamp(logBase >> 56 & 15, 8, 15);

    private void RaiseInterrupt() => Interrupts?.Message(
        _options.UnitRequesterId, Registers[AmdRegister.MSI_ADDR_LO] | Registers[AmdRegister.MSI_ADDR_HI] << 32,
        (uint)Registers[AmdRegister.MSI_DATA]);

    private static int LowestZero(ulong value) => BitOperations.TrailingZeroCount(~value);
}
