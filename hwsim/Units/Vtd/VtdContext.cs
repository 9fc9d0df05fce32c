using IommuFd.HwSim.PageTables;

namespace IommuFd.HwSim.Units;

/// <summary>How a request is translated.</summary>
internal enum VtdTranslation : byte
{
    PassThrough,
    SecondStage,
    FirstStage,
    Nested,
}

/// <summary>
/// What the context cache (in scalable mode with the PASID cache) keeps for a requester: the decoded entries, never changed after they were made.
/// </summary>
internal sealed record VtdContext
{
    internal required ushort SourceId { get; init; }

    /// <summary>The context-cache entry that led here; null in legacy mode, where both are one.</summary>
    internal VtdDevice? Device { get; init; }

    internal required uint Pasid { get; init; }

    internal required ushort DomainId { get; init; }

    internal required VtdTranslation Translation { get; init; }

    /// <summary>Translated and translation requests are allowed (legacy TT = 1, scalable DTE = 1).</summary>
    internal bool DeviceTlb { get; init; }

    internal bool FaultsDisabled { get; init; }

    internal DirectTable SecondStage { get; init; }

    internal DirectTable FirstStage { get; init; }

    /// <summary>UpdateAccessedDirty when the entry's SSADE is set.</summary>
    internal WalkAccess SecondStageRules { get; init; }

    internal bool ExecuteEnabled { get; init; }

    internal bool SupervisorEnabled { get; init; } = true;

    /// <summary>The IOTLB tag: domain, and PASID for translations that have a first stage.</summary>
    internal ulong Space { get; init; }
}
