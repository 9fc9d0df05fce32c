namespace IommuFd.HwSim.Units;

/// <summary>What the context cache keeps of a scalable-mode context entry (data book section 9.4).</summary>
internal sealed class VtdDevice
{
    internal required ushort SourceId { get; init; }

    internal required ulong PasidDirectory { get; init; }

    /// <summary>PDTS: the directory has 2^(this + 7) entries.</summary>
    internal required int DirectorySizeLg2 { get; init; }

    /// <summary>The PASID of requests without one.</summary>
    internal required uint RidPasid { get; init; }

    internal required bool DeviceTlb { get; init; }

    internal required bool PasidEnabled { get; init; }

    internal required bool PageRequests { get; init; }

    internal required bool FaultsDisabled { get; init; }
}
