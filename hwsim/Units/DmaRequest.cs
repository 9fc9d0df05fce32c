namespace IommuFd.HwSim.Units;

/// <summary>What a device asks for, by the AT field of the PCIe request and its direction.</summary>
[Flags]
public enum DmaAccess : uint
{
    /// <summary>A read (memory to device).</summary>
    Read = 1,

    /// <summary>A write (device to memory).</summary>
    Write = 2,

    /// <summary>An instruction fetch (PASID prefix with Execute Requested).</summary>
    Execute = 4,

    /// <summary>With privilege (PASID prefix with Privileged Mode Requested).</summary>
    Privileged = 8,

    /// <summary>An ATS translation request: answered with an address, not recorded as a fault when a page is absent.</summary>
    TranslationRequest = 16,

    /// <summary>The address was translated before (ATS translated request).</summary>
    Translated = 32,
}

/// <summary>One request on the bus, inside one page.</summary>
/// <param name="RequesterId">Bus, device and function: bus &lt;&lt; 8 | device &lt;&lt; 3 | function.</param>
/// <param name="Pasid">The 20-bit PASID, or <see cref="NoPasid"/>.</param>
/// <param name="Address">IOVA.</param>
/// <param name="Access">Direction and kind.</param>
public readonly record struct DmaRequest(ushort RequesterId, uint Pasid, ulong Address, DmaAccess Access)
{
    /// <summary>The request has no PASID prefix.</summary>
    public const uint NoPasid = uint.MaxValue;
}

/// <summary>The answer to a request.</summary>
public struct DmaTranslation
{
    /// <summary>Physical address of the request's address.</summary>
    public ulong Output;

    /// <summary>log2 of the page that the translation is for (ATS: the size of the completion).</summary>
    public int SizeLg2;

    /// <summary>What the translation allows.</summary>
    public DmaAccess Allowed;

    /// <summary>The transaction waits for software (Arm stall); the device tries again when it is told to.</summary>
    public bool IsStalled;

    /// <summary>Names a stalled transaction.</summary>
    public ushort StallTag;

    /// <summary>The address is an interrupt file: writes of 4 bytes are messages.</summary>
    public bool IsMessage;

    /// <summary>Where the notice of a memory-resident interrupt file goes; 0 when the message itself goes to <see cref="Output"/>.</summary>
    public ulong Notice;

    /// <summary>Data of that notice.</summary>
    public uint NoticeId;

    /// <summary>The unit's fault code, in its own data book's numbers; 0 when there is a translation or the unit gives no code.</summary>
    public uint Reason;
}

/// <summary>How a DMA ended.</summary>
public enum DmaStatus
{
    /// <summary>All bytes were moved.</summary>
    Success,

    /// <summary>The unit refused a page; it recorded the fault if its rules say so. Bytes before that page were moved.</summary>
    Fault,

    /// <summary>The translated address is not memory (on the bus: unsupported request).</summary>
    NoMemory,

    /// <summary>The unit holds the transaction until software has dealt with the fault; the rest is to be tried again then.</summary>
    Stalled,
}
