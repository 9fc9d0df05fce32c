namespace IommuFd.HwSim.Units;

#pragma warning disable CA1707 // the specification's names have underscores

/// <summary>Event numbers (SMMU architecture specification section 7.3).</summary>
public enum SmmuEvent : uint
{
    /// <summary>No event: the transaction is terminated silently.</summary>
    None = 0,

    /// <summary>StreamID out of range.</summary>
    C_BAD_STREAMID = 0x02,

    /// <summary>The stream table entry could not be read.</summary>
    F_STE_FETCH = 0x03,

    /// <summary>The stream table entry is not valid.</summary>
    C_BAD_STE = 0x04,

    /// <summary>ATS translation request while ATS is off for the stream.</summary>
    F_BAD_ATS_TREQ = 0x05,

    /// <summary>Transaction without substream while the stream wants one.</summary>
    F_STREAM_DISABLED = 0x06,

    /// <summary>ATS translated transaction while ATS is off for the stream.</summary>
    F_TRANSL_FORBIDDEN = 0x07,

    /// <summary>SubstreamID out of range.</summary>
    C_BAD_SUBSTREAMID = 0x08,

    /// <summary>The context descriptor could not be read.</summary>
    F_CD_FETCH = 0x09,

    /// <summary>The context descriptor is not valid.</summary>
    C_BAD_CD = 0x0a,

    /// <summary>A translation table could not be read.</summary>
    F_WALK_EABT = 0x0b,

    /// <summary>Not mapped.</summary>
    F_TRANSLATION = 0x10,

    /// <summary>An output address is too wide.</summary>
    F_ADDR_SIZE = 0x11,

    /// <summary>The access flag is clear.</summary>
    F_ACCESS = 0x12,

    /// <summary>Not permitted.</summary>
    F_PERMISSION = 0x13,
}

/// <summary>What was being accessed (CLASS).</summary>
internal enum SmmuClass : uint
{
    Cd = 0,
    Table = 1,
    Input = 2,
}

/// <summary>A fault before it is an event.</summary>
/// <param name="Event">Its number.</param>
/// <param name="Class">What was being accessed.</param>
/// <param name="Stage2">It is of stage 2.</param>
/// <param name="Address">IPA, or the address of a fetch.</param>
internal readonly record struct SmmuFault(SmmuEvent Event, SmmuClass Class = SmmuClass.Input, bool Stage2 = false, ulong Address = 0);
