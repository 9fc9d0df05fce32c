namespace IommuFd.HwSim.Units;

/// <summary>What an SMMUv3 offers; the identification registers are made from it.</summary>
public sealed record SmmuOptions
{
    /// <summary>Stage 1 (IDR0.S1P).</summary>
    public bool Stage1 { get; init; } = true;

    /// <summary>Stage 2 (IDR0.S2P); nesting needs both.</summary>
    public bool Stage2 { get; init; } = true;

    /// <summary>Output address width: 32, 36, 40, 42, 44, 48 or 52 (IDR5.OAS).</summary>
    public int OutputBits { get; init; } = 48;

    /// <summary>Granules: 4 KiB (bit 0), 16 KiB (bit 1), 64 KiB (bit 2) (IDR5).</summary>
    public int Granules { get; init; } = 7;

    /// <summary>Hardware update of the access flag and dirty state (IDR0.HTTU = 2).</summary>
    public bool HardwareAccessedDirty { get; init; } = true;

    /// <summary>Stalling faults (IDR0.STALL_MODEL = 0).</summary>
    public bool Stall { get; init; } = true;

    /// <summary>Width of a substream id (IDR1.SSIDSIZE), 0 to 20.</summary>
    public int SubstreamBits { get; init; } = 20;

    /// <summary>ATS and PRI.</summary>
    public bool Ats { get; init; } = true;

    /// <summary>log2 of TLB entries; -1 for none.</summary>
    public int IoTlbLg2 { get; init; } = 12;

    /// <summary>The requester id of the unit's own messages.</summary>
    public ushort UnitRequesterId { get; init; }
}
