namespace IommuFd.HwSim.PageTables;

/// <summary>Why a walk found no translation. Units turn it into the fault code of their data book.</summary>
public enum WalkFault
{
    /// <summary>There is a translation.</summary>
    None,

    /// <summary>The input address is wider than the tables, or not canonical.</summary>
    AddressTooWide,

    /// <summary>An entry on the way is not present.</summary>
    NotPresent,

    /// <summary>An entry has reserved bits set, a reserved form, or skips levels over address bits that are not zero.</summary>
    ReservedBits,

    /// <summary>A leaf's address is not a multiple of its size.</summary>
    Misaligned,

    /// <summary>A table or page address is wider than an output address may be.</summary>
    OutputTooWide,

    /// <summary>A table, or part of it, is not in memory.</summary>
    TableOutsideMemory,

    /// <summary>The second stage has no translation for the address of a table (nested walks).</summary>
    TableTranslation,

    /// <summary>The accessed bit is clear and hardware does not set it (Arm access flag, RISC-V A and D without hardware update).</summary>
    AccessFlag,

    /// <summary>The page does not allow a read.</summary>
    Read,

    /// <summary>The page does not allow a write.</summary>
    Write,

    /// <summary>The page does not allow an instruction fetch.</summary>
    Execute,

    /// <summary>The page does not allow this privilege.</summary>
    Privilege,
}
