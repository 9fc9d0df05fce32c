namespace IommuFd.HwSim.Devices.Ioat;

/// <summary>
/// Registers of the copy engine (Intel Xeon Processor E5 v3 datasheet, volume 2, "Intel QuickData Technology"): byte offsets in BAR 0.
/// </summary>
internal static class IoatRegister
{
    public const int CHANCNT = 0x00, XFERCAP = 0x01, GENCTRL = 0x02, INTRCTRL = 0x03, ATTNSTATUS = 0x04, CBVER = 0x08, INTRDELAY = 0x0c,
        CSTATUS = 0x0e, DMACAPABILITY = 0x10;

    /// <summary>Channel n has its registers at n + 1 times this.</summary>
    public const int ChannelSize = 0x80;

    /// <summary>Registers of a channel.</summary>
    public const int CHANCTRL = 0x00, CHANCMD = 0x04, DMACOUNT = 0x06, CHANSTS = 0x08, CHAINADDR = 0x10, CHANCMP = 0x18,
        CHANERR = 0x28, CHANERRMSK = 0x2c;

    /// <summary>INTRCTRL.</summary>
    public const int MasterInterruptEnable = 1, MsixVectorControl = 8;

    /// <summary>CHANCTRL.</summary>
    public const int InterruptRearm = 1, ErrorInterruptEnable = 0x10, ErrorCompletionEnable = 4;

    /// <summary>CHANCMD.</summary>
    public const int Suspend = 4, Resume = 0x10, Reset = 0x20;

    /// <summary>CHANERR.</summary>
    public const uint ChainAddressError = 0x10, NextAddressError = 4, ReadDataError = 0x100, WriteDataError = 0x200, DescriptorControlError = 0x400,
        DescriptorLengthError = 0x800;

    /// <inheritdoc cref="ChainAddressError"/>
    public const uint CompletionAddressError = 0x1000;

    /// <summary>Control word of a descriptor; bits 31:24 are the operation.</summary>
    public const uint InterruptOnCompletion = 1, CompletionWrite = 8, NullDescriptor = 0x20;

    /// <summary>Operations.</summary>
    public const uint OpCopy = 0, OpFill = 1;
}

/// <summary>CHANSTS bits 2:0.</summary>
internal enum IoatStatus
{
    Active = 0,
    Done = 1,
    Suspended = 2,
    Halted = 3,
}
