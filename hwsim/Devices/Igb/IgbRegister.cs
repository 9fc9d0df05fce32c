namespace IommuFd.HwSim.Devices.Igb;

/// <summary>Offsets of the registers in BAR 0, by the names of the data sheet (82576, chapter 8).</summary>
internal static class IgbRegister
{
    public const uint
        CTRL = 0x0000, STATUS = 0x0008, EECD = 0x0010, EERD = 0x0014, CTRL_EXT = 0x0018, MDIC = 0x0020, VET = 0x0038,
        RCTL = 0x0100, TCTL = 0x0400, EEMNGCTL = 0x1010,
        ICR = 0x1500, ICS = 0x1504, IMS = 0x1508, IMC = 0x150c, IAM = 0x1510, GPIE = 0x1514,
        EICS = 0x1520, EIMS = 0x1524, EIMC = 0x1528, EIAC = 0x152c, EIAM = 0x1530, EICR = 0x1580, EITR = 0x1680, IVAR = 0x1700, IVAR_MISC = 0x1740,
        VMBMEM = 0x0800, P2VMAILBOX = 0x0c00, MBVFICR = 0x0c80, MBVFIMR = 0x0c84, VFLRE = 0x0c88, VFRE = 0x0c8c, VFTE = 0x0c90,
        V2PMAILBOX = 0x0c40, DTXSWC = 0x3500,
        RXCSUM = 0x5000, RLPML = 0x5004, MTA = 0x5200, RAL = 0x5400, VFTA = 0x5600, MRQC = 0x5818, VT_CTL = 0x581c, VMOLR = 0x5ad0,
        SWSM = 0x5b50, RETA = 0x5c00, RSSRK = 0x5c80, VLVF = 0x5d00;

    // Statistics, 0x4000..0x4fff: cleared by reading (section 8.19).
    public const uint
        Statistics = 0x4000, StatisticsEnd = 0x4124,
        MPC = 0x4010, PRC64 = 0x405c, GPRC = 0x4074, BPRC = 0x4078, MPRC = 0x407c, GPTC = 0x4080, GORCL = 0x4088, GOTCL = 0x4090, RNBC = 0x40a0,
        RUC = 0x40a4, ROC = 0x40ac,
        TORL = 0x40c0, TOTL = 0x40c8, TPR = 0x40d0, TPT = 0x40d4, PTC64 = 0x40d8, MPTC = 0x40f0, BPTC = 0x40f4, IAC = 0x4100;

    // A queue's registers, 64 bytes for each of the 16; the first four have a second place (section 8.1.3).
    public const uint
        Receive = 0xc000, Transmit = 0xe000, QueueStride = 0x40, ReceiveAlias = 0x2800, TransmitAlias = 0x3800, AliasStride = 0x100,
        BaseLow = 0x00, BaseHigh = 0x04, Length = 0x08, SplitControl = 0x0c, Head = 0x10, Tail = 0x18, Control = 0x28, DropCount = 0x30,
        HeadWriteBackLow = 0x38, HeadWriteBackHigh = 0x3c;

    /// <summary>Control: the queue is enabled.</summary>
    public const uint QueueEnable = 1u << 25;

    /// <summary>Interrupt causes in ICR.</summary>
    public const uint TXDW = 1, LSC = 4, RXDW = 0x80, VMMB = 0x100, INT_ASSERTED = 1u << 31;

    /// <summary>The place where a register is kept, for one that has a second address.</summary>
    public static uint Canonical(uint offset) => offset switch
    {
        4 => CTRL,
        >= 0xc0 and < 0xe4 when offset % 8 == 0 => ICR + ((offset - 0xc0) / 2),
        >= ReceiveAlias and < ReceiveAlias + (4 * AliasStride) when offset % AliasStride < QueueStride =>
            Receive + ((offset - ReceiveAlias) / AliasStride * QueueStride) + (offset % AliasStride),
        >= TransmitAlias and < TransmitAlias + (4 * AliasStride) when offset % AliasStride < QueueStride =>
            Transmit + ((offset - TransmitAlias) / AliasStride * QueueStride) + (offset % AliasStride),
        _ => offset,
    };

    /// <summary>The second address of a register; the same one when there is none.</summary>
    public static uint Alias(uint offset) => offset switch
    {
        CTRL => 4,
        >= ICR and <= IAM => 0xc0 + ((offset - ICR) * 2),
        >= Receive and < Receive + (4 * QueueStride) => ReceiveAlias + ((offset - Receive) / QueueStride * AliasStride) + (offset % QueueStride),
        >= Transmit and < Transmit + (4 * QueueStride) => TransmitAlias + ((offset - Transmit) / QueueStride * AliasStride) + (offset % QueueStride),
        _ => offset,
    };

    /// <summary>
    /// True for a register that keeps what is written and does nothing else here: filters, buffers' sizes, timers, moderation, wake-up, DCA.
    /// </summary>
    public static bool IsPlain(uint offset) => offset switch
    {
        < 0x40 or >= 0x100 and < 0x800 => true,
        >= 0xc8c and < 0xc98 => true,
        >= 0xe00 and < 0x1500 => true,
        >= 0x1580 and < 0x1800 => true,
        >= 0x2000 and < 0x4000 => true,
        >= 0x4200 and < 0x4300 => true,
        >= 0x5000 and < 0x6000 => true,
        >= 0x7000 and < 0x10000 => true,
        _ => false,
    };
}
