using IommuFd.HwSim.PageTables;

namespace IommuFd.HwSim.Units;

/// <summary>The first stage of a context.</summary>
internal enum RiscvStage : byte
{
    Bare,
    Sv32,
    Sv64,
}

/// <summary>What the directory caches keep for a device and process: the decoded contexts, never changed after they were made.</summary>
internal sealed class RiscvContext
{
    internal required uint DeviceId { get; init; }

    /// <summary>The process id of the request, or <see cref="DmaRequest.NoPasid"/>.</summary>
    internal required uint Pasid { get; init; }

    internal bool FaultsDisabled { get; init; }

    internal bool Ats { get; init; }

    internal bool PageRequests { get; init; }

    internal bool T2Gpa { get; init; }

    /// <summary>PRPR: page responses carry the process id.</summary>
    internal bool ResponsesWithPasid { get; init; }

    internal RiscvStage First { get; init; }

    internal RiscvStage Second { get; init; }

    internal DirectTable FirstTable { get; init; }

    internal DirectTable SecondTable { get; init; }

    internal WalkAccess FirstRules { get; init; }

    internal WalkAccess SecondRules { get; init; }

    /// <summary>PC.ta.ENS: supervisor requests are allowed.</summary>
    internal bool SupervisorEnabled { get; init; }

    /// <summary>PC.ta.SUM: supervisor requests may touch user pages.</summary>
    internal bool SupervisorUserAccess { get; init; }

    internal bool MsiTranslation { get; init; }

    internal ulong MsiTable { get; init; }

    internal ulong MsiMask { get; init; }

    internal ulong MsiPattern { get; init; }

    internal ulong Space { get; init; }
}
