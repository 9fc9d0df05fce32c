namespace IommuFd.HwSim.Units;

/// <summary>What a RISC-V IOMMU offers; the capabilities register is made from it.</summary>
public sealed record RiscvOptions
{
    /// <summary>First-stage modes Sv32, Sv39, Sv48, Sv57.</summary>
    public bool FirstStage { get; init; } = true;

    /// <summary>Second-stage modes Sv32x4, Sv39x4, Sv48x4, Sv57x4.</summary>
    public bool SecondStage { get; init; } = true;

    /// <summary>MSI translation: flat tables, which also makes device contexts 64 bytes long.</summary>
    public bool MsiFlat { get; init; } = true;

    /// <summary>MSI translation to memory-resident interrupt files.</summary>
    public bool MsiMrif { get; init; } = true;

    /// <summary>Hardware update of accessed and dirty bits (AMO_HWAD).</summary>
    public bool HardwareAccessedDirty { get; init; } = true;

    /// <summary>Page-based memory types (Svpbmt).</summary>
    public bool Pbmt { get; init; }

    /// <summary>Contiguous pages of 64 KiB (Svnapot): the specification makes it part of the modes.</summary>
    public bool Napot { get; init; } = true;

    /// <summary>Address translation services and page requests.</summary>
    public bool Ats { get; init; } = true;

    /// <summary>ATS translation requests may be answered with guest physical addresses (T2GPA).</summary>
    public bool T2Gpa { get; init; } = true;

    /// <summary>Process directory widths: PD8 (bit 0), PD17 (bit 1), PD20 (bit 2).</summary>
    public int ProcessDirectories { get; init; } = 7;

    /// <summary>log2 of IOTLB entries; -1 for none.</summary>
    public int IoTlbLg2 { get; init; } = 12;

    /// <summary>The requester id of the unit's own messages.</summary>
    public ushort UnitRequesterId { get; init; } = 0x0008;
}
