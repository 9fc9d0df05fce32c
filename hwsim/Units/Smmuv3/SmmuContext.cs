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

    internal ulong Stage2Root { get; init; }

    internal PageTableGeometry Stage2Geometry { get; init; }

    internal WalkAccess Stage2Rules { get; init; }

    internal bool Stage2Stalls { get; init; }

    internal bool Stage2Records { get; init; }

    internal ulong Space { get; init; }
}

/// <summary>One of the two halves of a stage-1 address space.</summary>
/// <param name="Enabled">EPDn is clear.</param>
/// <param name="Root">TTBn.</param>
/// <param name="Geometry">Its tables.</param>
/// <param name="IgnoreTop">TBI: bits 63:56 are ignored.</param>
/// <param name="Hierarchical">HADn is clear: table entries limit what is below them.</param>
internal readonly record struct SmmuRegion(bool Enabled, ulong Root, PageTableGeometry Geometry, bool IgnoreTop, bool Hierarchical);
