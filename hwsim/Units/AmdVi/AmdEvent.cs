namespace IommuFd.HwSim.Units;

#pragma warning disable CA1707 // the specification's names have underscores

/// <summary>Event codes (specification section 2.5).</summary>
public enum AmdEvent : uint
{
    /// <summary>No event.</summary>
    None = 0,

    /// <summary>A device table entry has reserved bits or an illegal field.</summary>
    ILLEGAL_DEV_TABLE_ENTRY = 1,

    /// <summary>No translation, or not permitted.</summary>
    IO_PAGE_FAULT = 2,

    /// <summary>The device table is not memory.</summary>
    DEV_TAB_HARDWARE_ERROR = 3,

    /// <summary>A page table is not memory.</summary>
    PAGE_TAB_HARDWARE_ERROR = 4,

    /// <summary>A command is not legal.</summary>
    ILLEGAL_COMMAND_ERROR = 5,

    /// <summary>The command buffer is not memory.</summary>
    COMMAND_HARDWARE_ERROR = 6,

    /// <summary>A request that the device may not make.</summary>
    INVALID_DEVICE_REQUEST = 8,

    /// <summary>A page request that the device may not make.</summary>
    INVALID_PPR_REQUEST = 9,
}

/// <summary>A fault before it is an event.</summary>
/// <param name="Event">Its code.</param>
/// <param name="Flags">PR, PE and RZ of an I/O page fault.</param>
/// <param name="Address">Another address than the request's, for errors of tables.</param>
internal readonly record struct AmdFault(AmdEvent Event, uint Flags = 0, ulong? Address = null)
{
    internal const uint Present = 1 << 20, Permission = 1 << 22, Reserved = 1 << 23;
}
