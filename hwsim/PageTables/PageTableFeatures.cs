namespace IommuFd.HwSim.PageTables;

/// <summary>Choices inside a format. A format ignores those that it does not have.</summary>
[Flags]
public enum PageTableFeatures
{
    /// <summary>The plain format.</summary>
    None = 0,

    /// <summary>Addresses are sign-extended from the top bit (x86-64, Sv39/48/57); without it they are zero-extended.</summary>
    SignExtend = 1,

    /// <summary>Every leaf is made coherent (VT-d SNP, AMD FC), as for IOMMU_CAP_ENFORCE_CACHE_COHERENCY.</summary>
    ForceCoherent = 2,

    /// <summary>Runs of entries may form one larger page: Arm contiguous hint, RISC-V Svnapot.</summary>
    Contiguous = 4,

    /// <summary>RISC-V Svpbmt: page-based memory types.</summary>
    Pbmt = 8,

    /// <summary>The top level grows when an address beyond it is mapped (AMD v1).</summary>
    DynamicTop = 16,

    /// <summary>Hardware keeps accessed and dirty bits; new leaves are made clean so that a write is seen.</summary>
    DirtyTracking = 32,

    /// <summary>Arm LPA/LPA2: output addresses of 52 bits with their top bits folded into low ones.</summary>
    Address52 = 64,

    /// <summary>Snoop control is not offered: SNP is a reserved bit (VT-d second stage, ECAP.SC = 0).</summary>
    NoSnoopControl = 256,

    /// <summary>Device TLBs are not offered: TM is a reserved bit (VT-d second stage, ECAP.DT = 0).</summary>
    NoTransientMapping = 512,
}
