namespace IgbDriver;

/// <summary>Registers of the 82576 (data sheet chapter 8) that the driver uses, and their bits.</summary>
internal static class IgbRegisters
{
    public const ulong Control = 0x0000, Status = 0x0008, ControlExtended = 0x0018, Mdic = 0x0020, ReceiveControl = 0x0100, TransmitControl = 0x0400;
    public const ulong InterruptMaskClear = 0x150c, Gpie = 0x1514, VectorMaskSet = 0x1524, VectorMaskClear = 0x1528, VectorAutoClear = 0x152c,
        VectorAutoMask = 0x1530;
    public const ulong VectorCause = 0x1580, Ivar = 0x1700, IvarOther = 0x1740, AddressLow = 0x5400, AddressHigh = 0x5404;
    public const ulong GoodReceived = 0x4074, GoodTransmitted = 0x4080, NoBuffer = 0x40a0;
    public const ulong ReceiveQueue = 0x2800, TransmitQueue = 0x3800, MailboxMemory = 0x0800, Mailbox = 0x0c40;
    public const ulong BaseLow = 0x00, BaseHigh = 0x04, Length = 0x08, Split = 0x0c, Head = 0x10, Tail = 0x18, QueueControl = 0x28;

    public const uint FullDuplex = 1, SetLinkUp = 0x40, SpeedMask = 0x300, Speed1000 = 0x200, ForceSpeed = 0x800, ForceDuplex = 0x1000,
        Reset = 1u << 26;
    public const uint LinkUp = 2, DriverLoaded = 1u << 28, LinkModeMask = 0xc0_0000, QueueEnable = 1u << 25, AdvancedOneBuffer = 1u << 25 | 2;
    public const uint ReceiveEnable = 2, Loopback = 0x40, AcceptBroadcast = 0x8000, StripCrc = 1u << 26, TransmitEnable = 2, PadShort = 8;
    public const uint MultipleMsix = 0x10, AutoMaskOnMessage = 1u << 30, Valid = 0x80;
}
