namespace IommuFd.HwSim.Units;

/// <summary>VT-d fault reasons (data book section 7.1, tables "Legacy mode" and "Scalable mode" translation faults).</summary>
public enum VtdFaultReason : uint
{
    /// <summary>No fault.</summary>
    None = 0,

    /// <summary>Root entry not present.</summary>
    RootNotPresent = 0x1,

    /// <summary>Context entry not present.</summary>
    ContextNotPresent = 0x2,

    /// <summary>Context entry programmed in a way that the unit does not offer.</summary>
    ContextInvalid = 0x3,

    /// <summary>Address above the domain's or the unit's width, or in the interrupt range.</summary>
    AddressBeyondMgaw = 0x4,

    /// <summary>No write permission, or not present, on a write.</summary>
    Write = 0x5,

    /// <summary>No read permission, or not present, on a read.</summary>
    Read = 0x6,

    /// <summary>The address of a second-stage table is not memory.</summary>
    NextTableInvalid = 0x7,

    /// <summary>The root table is not memory.</summary>
    RootTableInvalid = 0x8,

    /// <summary>The context table is not memory.</summary>
    ContextTableInvalid = 0x9,

    /// <summary>Reserved bits in a root entry.</summary>
    RootReserved = 0xa,

    /// <summary>Reserved bits in a context entry.</summary>
    ContextReserved = 0xb,

    /// <summary>Reserved bits in a second-stage entry.</summary>
    PagingReserved = 0xc,

    /// <summary>Translation request or translated request blocked by the context entry's type.</summary>
    TranslationTypeBlocked = 0xd,

    /// <summary>RTADDR.TTM is reserved or names a mode that the unit does not offer.</summary>
    TranslationTableModeInvalid = 0x30,

    /// <summary>Request with PASID in legacy mode.</summary>
    PasidInLegacyMode = 0x31,

    /// <summary>Page request in legacy mode.</summary>
    PageRequestInLegacyMode = 0x32,

    /// <summary>Scalable root entry could not be read.</summary>
    ScalableRootTableInvalid = 0x38,

    /// <summary>Scalable root entry not present.</summary>
    ScalableRootNotPresent = 0x39,

    /// <summary>Reserved bits in a scalable root entry.</summary>
    ScalableRootReserved = 0x3a,

    /// <summary>Scalable context entry could not be read.</summary>
    ScalableContextTableInvalid = 0x40,

    /// <summary>Scalable context entry not present.</summary>
    ScalableContextNotPresent = 0x41,

    /// <summary>Reserved bits in a scalable context entry.</summary>
    ScalableContextReserved = 0x42,

    /// <summary>Scalable context entry programmed in a way that the unit does not offer.</summary>
    ScalableContextInvalid = 0x43,

    /// <summary>Translation request or translated request while the context entry's DTE is clear.</summary>
    DeviceTlbDisabled = 0x44,

    /// <summary>Request with PASID while the context entry's PASIDE is clear.</summary>
    PasidDisabled = 0x45,

    /// <summary>PASID above what the context entry's PDTS allows.</summary>
    PasidTooLarge = 0x46,

    /// <summary>Page request while the context entry's PRE is clear.</summary>
    PageRequestDisabled = 0x47,

    /// <summary>RID_PASID above what the context entry's PDTS allows.</summary>
    RidPasidInvalid = 0x48,

    /// <summary>PASID directory entry could not be read.</summary>
    PasidDirectoryInvalid = 0x50,

    /// <summary>PASID directory entry not present.</summary>
    PasidDirectoryNotPresent = 0x51,

    /// <summary>Reserved bits in a PASID directory entry.</summary>
    PasidDirectoryReserved = 0x52,

    /// <summary>PASID table entry could not be read.</summary>
    PasidTableInvalid = 0x58,

    /// <summary>PASID table entry not present.</summary>
    PasidNotPresent = 0x59,

    /// <summary>Reserved bits in a PASID table entry.</summary>
    PasidReserved = 0x5a,

    /// <summary>PASID table entry programmed in a way that the unit does not offer.</summary>
    PasidInvalid = 0x5b,

    /// <summary>Execute requested while the PASID table entry's ERE is clear.</summary>
    ExecuteDisabled = 0x5c,

    /// <summary>Privileged mode requested while the PASID table entry's SRE is clear.</summary>
    SupervisorDisabled = 0x5d,

    /// <summary>First-stage entry could not be read.</summary>
    FirstStageTableInvalid = 0x70,

    /// <summary>First-stage entry not present.</summary>
    FirstStageNotPresent = 0x71,

    /// <summary>Reserved bits in a first-stage entry.</summary>
    FirstStageReserved = 0x72,

    /// <summary>The first-stage root table could not be read.</summary>
    FirstStageRootInvalid = 0x73,

    /// <summary>Nested: a first-stage entry's address is above the second stage's width.</summary>
    NestedAddressBeyondWidth = 0x74,

    /// <summary>Nested: the second stage does not allow the read of the first-stage root table.</summary>
    NestedRootRead = 0x75,

    /// <summary>Nested: the second stage does not allow the read of a first-stage entry.</summary>
    NestedEntryRead = 0x76,

    /// <summary>Nested: the second stage does not allow the accessed or dirty bit of a first-stage entry to be written.</summary>
    NestedEntryWrite = 0x77,

    /// <summary>Second-stage entry could not be read.</summary>
    SecondStageTableInvalid = 0x78,

    /// <summary>Second-stage entry not present (neither read nor write).</summary>
    SecondStageNotPresent = 0x79,

    /// <summary>Reserved bits in a second-stage entry.</summary>
    SecondStageReserved = 0x7a,

    /// <summary>The second-stage root table could not be read.</summary>
    SecondStageRootInvalid = 0x7b,

    /// <summary>Address not canonical for the first stage.</summary>
    NotCanonical = 0x80,

    /// <summary>First stage: request without privilege for a supervisor page.</summary>
    UserOnSupervisorPage = 0x81,

    /// <summary>No execute permission.</summary>
    NoExecute = 0x82,

    /// <summary>Address above the unit's width.</summary>
    AddressBeyondHardware = 0x83,

    /// <summary>Address above the second-stage table's width.</summary>
    AddressBeyondTable = 0x84,

    /// <summary>No write permission.</summary>
    NoWrite = 0x85,

    /// <summary>No read permission.</summary>
    NoRead = 0x86,

    /// <summary>Address in the interrupt range that is not a message.</summary>
    InterruptRange = 0x87,
}
