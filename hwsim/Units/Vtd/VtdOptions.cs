namespace IommuFd.HwSim.Units;

/// <summary>What a VT-d unit offers; the capability registers are made from it.</summary>
public sealed record VtdOptions
{
    /// <summary>Widest second-stage table: 39, 48 or 57 bits. Narrower ones are offered too (CAP.SAGAW).</summary>
    public int AddressWidth { get; init; } = 48;

    /// <summary>Scalable mode (ECAP.SMTS) with PASID tables.</summary>
    public bool ScalableMode { get; init; } = true;

    /// <summary>Second-stage translation in scalable mode (ECAP.SSTS).</summary>
    public bool SecondStage { get; init; } = true;

    /// <summary>First-stage translation in scalable mode (ECAP.FSTS).</summary>
    public bool FirstStage { get; init; } = true;

    /// <summary>First-stage tables of five levels (CAP.FL5LP).</summary>
    public bool FirstStage5 { get; init; }

    /// <summary>Nested translation in scalable mode (ECAP.NEST).</summary>
    public bool Nesting { get; init; } = true;

    /// <summary>Accessed and dirty bits in second-stage tables (ECAP.SSADS).</summary>
    public bool SecondStageDirty { get; init; } = true;

    /// <summary>Device TLBs (ECAP.DT) and page requests (ECAP.PRS).</summary>
    public bool DeviceTlb { get; init; } = true;

    /// <summary>Snoop control (ECAP.SC): second-stage entries can force coherence.</summary>
    public bool SnoopControl { get; init; } = true;

    /// <summary>Pass-through (ECAP.PT).</summary>
    public bool PassThrough { get; init; } = true;

    /// <summary>Second-stage pages of 2 MiB (bit 0) and 1 GiB (bit 1) (CAP.SLLPS).</summary>
    public int LargePages { get; init; } = 3;

    /// <summary>Caching mode (CAP.CM): absent entries are cached as well, as virtual units do.</summary>
    public bool CachingMode { get; init; }

    /// <summary>Number of fault recording registers, 1 to 256 (CAP.NFR + 1).</summary>
    public int FaultRecords { get; init; } = 8;

    /// <summary>PASID width in bits (ECAP.PSS + 1), up to 20.</summary>
    public int PasidBits { get; init; } = 20;

    /// <summary>log2 of IOTLB entries; -1 for none.</summary>
    public int IoTlbLg2 { get; init; } = 12;

    /// <summary>The requester id that the unit's own event messages carry.</summary>
    public ushort UnitRequesterId { get; init; } = 0x00f8;
}
