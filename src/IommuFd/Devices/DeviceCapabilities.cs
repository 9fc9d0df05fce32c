namespace IommuFd;

/// <summary>Kinds of nesting.</summary>
[Flags]
public enum NestingKinds
{
    /// <summary>None: a root is all there is.</summary>
    None = 0,

    /// <summary>Child and parent are merged into one table (<see cref="MappedAddressSpace.CreateChild"/>).</summary>
    Software = 1,

    /// <summary>The IOMMU walks a table of the program and then the parent's (<see cref="MappedAddressSpace.CreateUserTable"/>).</summary>
    Hardware = 2,
}

/// <summary>Whether PASIDs may stand in CPU instructions that command the device (ENQCMD; RFC v2 1.6, types 7 and 8).</summary>
public enum CpuPasids
{
    /// <summary>No. Mainline and legacy VFIO know nothing else: what the proposal needs of KVM for them was never merged.</summary>
    None,

    /// <summary>Yes, as they are.</summary>
    Untranslated,

    /// <summary>Yes, once the virtual machine translates them (KVM_MAP_PASID). Not together with untranslated ones in one machine.</summary>
    Translated,
}

/// <summary>
/// What the IOMMU offers a bound device (the proposal's IOMMU_DEVICE_GET_INFO by cookie). On mainline it is put together from IOMMU_GET_HW_INFO, from
/// IOMMU_IOAS_IOVA_RANGES of a table made for the device, and from the group's reserved_regions; over legacy VFIO from VFIO_IOMMU_GET_INFO.
/// </summary>
/// <param name="Cookie">The device.</param>
/// <param name="PageSizes">Page sizes of the kernel's tables, one bit each.</param>
/// <param name="AddressWidth">Bits of an IOVA.</param>
/// <param name="PermittedRanges">Where memory may be mapped for it alone, ascending.</param>
/// <param name="Nesting">Kinds of nesting.</param>
/// <param name="UserTables">Formats of tables of the program; empty without hardware nesting.</param>
/// <param name="PasidWidth">Width of PASIDs in bits; 0 for a device with one address space only.</param>
/// <param name="DelegatesPasids">Whether the PASID table itself is the program's (a user PASID table), so that no PASID is named at attach.</param>
/// <param name="CpuPasids">Whether PASIDs may stand in CPU instructions.</param>
/// <param name="TracksDirty">Whether pages that it writes can be found.</param>
/// <param name="EnforcesSnoop">
/// Whether DMA that asks not to be snooped is made coherent all the same; null when that cannot be told. Where the IOMMU can, mainline and legacy
/// VFIO always do (the proposal's "auto"); there is no choice.
/// </param>
public sealed record DeviceCapabilities(
    ulong Cookie, ulong PageSizes, int AddressWidth, IReadOnlyList<IovaRange> PermittedRanges, NestingKinds Nesting,
    IReadOnlyList<UserTableFormat> UserTables, int PasidWidth,
    bool DelegatesPasids, CpuPasids CpuPasids, bool TracksDirty, bool? EnforcesSnoop);
