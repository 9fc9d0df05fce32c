namespace IommuFd.HwSim.Devices.Pasid;

/// <summary>
/// Registers of a channel of <see cref="PasidDevice"/>: byte offsets in the channel's page. 32 bits each where nothing else is said.
/// </summary>
public static class PasidRegister
{
    /// <summary>Read only: 0x0001a51d.</summary>
    public const int Identification = 0x00;

    /// <summary>
    /// Read only, what is switched on in the configuration space: bit 0 PASID, 1 ATS, 2 page requests; bits 15:8 the number of channels.
    /// </summary>
    public const int Features = 0x04;

    /// <summary>Bits 19:0 the PASID of the channel's requests, bit 31 set when they have one.</summary>
    public const int Pasid = 0x08;

    /// <summary>
    /// Bit 0: translate by ATS and keep the translations; bit 1: ask for pages that are missing (needs bit 0); bit 2: interrupt at the end of a
    /// command.
    /// </summary>
    public const int Control = 0x0c;

    /// <summary>64 bits: the address in memory.</summary>
    public const int Iova = 0x10;

    /// <summary>Bytes to move, up to a page.</summary>
    public const int Length = 0x18;

    /// <summary>First byte in the channel's buffer.</summary>
    public const int Offset = 0x1c;

    /// <summary>
    /// Write only, starts a <see cref="PasidCommand"/>; bit 8: for writing (of <see cref="PasidCommand.Translate"/> and
    /// <see cref="PasidCommand.RequestPage"/>).
    /// </summary>
    public const int Command = 0x20;

    /// <summary>Read only: a <see cref="PasidStatus"/>.</summary>
    public const int Status = 0x24;

    /// <summary>Read only, 64 bits: the last translation by ATS, its permissions in bits 1:0 (1 read, 2 write).</summary>
    public const int Result = 0x28;

    /// <summary>
    /// Read only, the last answer to a page request: bits 3:0 its code (0 success, 1 invalid request, 15 failure), bit 31 set when there was one.
    /// </summary>
    public const int Response = 0x30;

    /// <summary>Read only: page requests of the channel.</summary>
    public const int PageRequests = 0x34;

    /// <summary>Read only: translations that the channel took from the device's cache.</summary>
    public const int CacheHits = 0x38;

    /// <summary>Read only: invalidations that the device was sent.</summary>
    public const int Invalidations = 0x3c;
}

/// <summary>What a channel of <see cref="PasidDevice"/> can do.</summary>
public enum PasidCommand
{
    /// <summary>Memory to buffer.</summary>
    Read = 1,

    /// <summary>Buffer to memory.</summary>
    Write = 2,

    /// <summary>Only a translation request.</summary>
    Translate = 3,

    /// <summary>Only a page request; ends with its answer.</summary>
    RequestPage = 4,

    /// <summary>Empties the device's translation cache.</summary>
    Forget = 5,
}

/// <summary>How a command of <see cref="PasidDevice"/> stands.</summary>
public enum PasidStatus
{
    /// <summary>None was started.</summary>
    Idle,

    /// <summary>It waits for a page.</summary>
    Busy,

    /// <summary>Done.</summary>
    Done,

    /// <summary>The unit refused an address.</summary>
    Fault,

    /// <summary>A page request was answered with anything but success.</summary>
    Refused,

    /// <summary>It needs what is not switched on, or its length or command makes no sense.</summary>
    Unsupported,
}
