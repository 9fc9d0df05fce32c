using IommuFd.HwSim.PageTables;

namespace IommuFd.HwSim.Units;

/// <summary>What the configuration caches keep of a stream table entry and context descriptor; never changed after it was made.</summary>
internal sealed class SmmuContext
{
    internal required ushort StreamId { get; init; }

    /// <summary>SubstreamID of the request, or <see cref="DmaRequest.NoPasid"/>.</summary>
    internal required uint Substream { get; init; }

    /// <summary>STE.Config = abort.</summary>
    internal bool Abort { get; init; }

    internal bool Stage1 { get; init; }

    internal bool Stage2 { get; init; }

    internal int Ats { get; init; }

    /// <summary>PRIVCFG: 2 forces unprivileged, 3 privileged.</summary>
    internal int Privilege { get; init; }

    internal SmmuRegion Region0 { get; init; }

    internal SmmuRegion Region1 { get; init; }

    internal WalkAccess Stage1Rules { get; init; }

    /// <summary>CD.S: faults of stage 1 stall. CD.R: they are recorded. CD.A: they abort.</summary>
    internal bool Stage1Stalls { get; init; }

    internal bool Stage1Records { get; init; }

    internal DirectTable Stage2Table { get; init; }

    internal WalkAccess Stage2Rules { get; init; }

    internal bool Stage2Stalls { get; init; }

    internal bool Stage2Records { get; init; }

    internal ulong Space { get; init; }
}

/// <summary>One of the two halves of a stage-1 address space.</summary>
/// <param name="Table">TTBn; none when disabled.</param>
/// <param name="IgnoreTop">TBI: bits 63:56 are ignored.</param>
/// <param name="Hierarchical">HADn is clear: table entries limit what is below them.</param>
internal readonly record struct SmmuRegion(DirectTable Table, bool IgnoreTop, bool Hierarchical);
