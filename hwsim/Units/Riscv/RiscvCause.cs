namespace IommuFd.HwSim.Units;

/// <summary>Causes in fault records (specification section 4.2, table "Fault record CAUSE field encodings").</summary>
public enum RiscvCause : uint
{
    /// <summary>No fault.</summary>
    None = 0,

    /// <summary>Instruction access fault.</summary>
    InstructionAccess = 1,

    /// <summary>Read access fault: a table or the target is not memory.</summary>
    ReadAccess = 5,

    /// <summary>Write or AMO access fault.</summary>
    WriteAccess = 7,

    /// <summary>Instruction page fault.</summary>
    InstructionPage = 12,

    /// <summary>Read page fault.</summary>
    ReadPage = 13,

    /// <summary>Write or AMO page fault.</summary>
    WritePage = 15,

    /// <summary>Instruction guest-page fault.</summary>
    InstructionGuestPage = 20,

    /// <summary>Read guest-page fault.</summary>
    ReadGuestPage = 21,

    /// <summary>Write or AMO guest-page fault.</summary>
    WriteGuestPage = 23,

    /// <summary>All inbound transactions disallowed.</summary>
    AllDisallowed = 256,

    /// <summary>DDT entry load access fault.</summary>
    DdtLoad = 257,

    /// <summary>DDT entry not valid.</summary>
    DdtNotValid = 258,

    /// <summary>DDT entry misconfigured.</summary>
    DdtMisconfigured = 259,

    /// <summary>Transaction type disallowed.</summary>
    TypeDisallowed = 260,

    /// <summary>MSI PTE load access fault.</summary>
    MsiLoad = 261,

    /// <summary>MSI PTE not valid.</summary>
    MsiNotValid = 262,

    /// <summary>MSI PTE misconfigured.</summary>
    MsiMisconfigured = 263,

    /// <summary>MRIF access fault.</summary>
    MrifAccess = 264,

    /// <summary>PDT entry load access fault.</summary>
    PdtLoad = 265,

    /// <summary>PDT entry not valid.</summary>
    PdtNotValid = 266,

    /// <summary>PDT entry misconfigured.</summary>
    PdtMisconfigured = 267,
}
