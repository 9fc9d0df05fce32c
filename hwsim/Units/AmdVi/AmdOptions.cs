namespace IommuFd.HwSim.Units;

/// <summary>What an AMD IOMMU offers; the extended feature register is made from it.</summary>
public sealed record AmdOptions
{
    /// <summary>Levels of host (v1) page tables: 4, 5 or 6 (EFR.HATS).</summary>
    public int HostLevels { get; init; } = 6;

    /// <summary>Guest translation (EFR.GTSup): v2 page tables through GCR3, with PASIDs.</summary>
    public bool GuestTranslation { get; init; } = true;

    /// <summary>Levels of v2 page tables: 4 or 5 (EFR.GATS).</summary>
    public int GuestLevels { get; init; } = 5;

    /// <summary>Levels of the GCR3 table: 1 to 3 (EFR.GLXSup + 1).</summary>
    public int GcrLevels { get; init; } = 3;

    /// <summary>Host accessed and dirty bits (EFR.HASup and HDSup).</summary>
    public bool HostAccessedDirty { get; init; } = true;

    /// <summary>Device TLBs and peripheral page requests (EFR.PPRSup).</summary>
    public bool Ppr { get; init; } = true;

    /// <summary>log2 of IOTLB entries; -1 for none.</summary>
    public int IoTlbLg2 { get; init; } = 12;

    /// <summary>The requester id of the unit's own messages.</summary>
    public ushort UnitRequesterId { get; init; } = 0x0002;
}
