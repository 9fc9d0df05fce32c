namespace IommuFd.HwSim.PageTables;

/// <summary>What a page-table entry says about a page, in words common to all formats. A format encodes those that it has.</summary>
[Flags]
public enum PageAttributes : uint
{
    /// <summary>Nothing is allowed.</summary>
    None = 0,

    /// <summary>A device may read.</summary>
    Read = 1,

    /// <summary>A device may write.</summary>
    Write = 2,

    /// <summary>A device may fetch instructions.</summary>
    Execute = 4,

    /// <summary>Requests without privilege are allowed (x86 U/S, RISC-V U, Arm AP[1]).</summary>
    User = 8,

    /// <summary>The translation is the same in all address spaces (x86 G, RISC-V G, Arm not nG).</summary>
    Global = 16,

    /// <summary>
    /// DMA to the page is coherent with the CPU's caches whatever the device says (VT-d SNP, AMD FC, Arm normal write-back memory).
    /// </summary>
    Coherent = 512,

    /// <summary>The page was used since the bit was cleared.</summary>
    Accessed = 64,

    /// <summary>The page was written since the bit was cleared.</summary>
    Dirty = 128,

    /// <summary>The page is device memory (MMIO).</summary>
    Device = 256,

    /// <summary>The page is memory that is not cached.</summary>
    NonCacheable = 32,

    /// <summary>Hardware may keep the accessed and dirty state of this page (Arm DBM).</summary>
    DirtyTracked = 1024,
}
