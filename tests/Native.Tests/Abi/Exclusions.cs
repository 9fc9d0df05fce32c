namespace Native.Tests.Abi;

/// <summary>What the headers declare and <c>IommuFd.Native.Uapi</c> leaves out, and why.</summary>
internal static class Exclusions
{
    private const string Guard = "include guard";
    private const string FunctionLike = "function-like macro on the deprecated first migration interface";
    private const string Spapr = "sPAPR TCE IOMMU: PowerPC servers only, which neither the library nor the simulator supports";
    private const string Eeh = "enhanced error handling: PowerPC only, which neither the library nor the simulator supports";

    /// <summary>Names of macros, enum constants and structs.</summary>
    internal static IReadOnlyDictionary<string, string> Names { get; } = new Dictionary<string, string>
    {
        ["_IOMMUFD_H"] = Guard,
        ["VFIO_H"] = Guard,
        ["IOMMU_RFC_H"] = Guard,
        ["VFIO_DEVICE_STATE_VALID"] = FunctionLike,
        ["VFIO_DEVICE_STATE_IS_ERROR"] = FunctionLike,
        ["VFIO_DEVICE_STATE_SET_ERROR"] = FunctionLike,
        ["vfio_iommu_spapr_tce_ddw_info"] = Spapr,
        ["vfio_iommu_spapr_tce_info"] = Spapr,
        ["vfio_iommu_spapr_register_memory"] = Spapr,
        ["vfio_iommu_spapr_tce_create"] = Spapr,
        ["vfio_iommu_spapr_tce_remove"] = Spapr,
        ["VFIO_IOMMU_SPAPR_INFO_DDW"] = Spapr,
        ["VFIO_IOMMU_SPAPR_TCE_GET_INFO"] = Spapr,
        ["VFIO_IOMMU_SPAPR_REGISTER_MEMORY"] = Spapr,
        ["VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY"] = Spapr,
        ["VFIO_IOMMU_SPAPR_TCE_CREATE"] = Spapr,
        ["VFIO_IOMMU_SPAPR_TCE_REMOVE"] = Spapr,
        ["vfio_eeh_pe_err"] = Eeh,
        ["vfio_eeh_pe_op"] = Eeh,
        ["VFIO_EEH_PE_DISABLE"] = Eeh,
        ["VFIO_EEH_PE_ENABLE"] = Eeh,
        ["VFIO_EEH_PE_UNFREEZE_IO"] = Eeh,
        ["VFIO_EEH_PE_UNFREEZE_DMA"] = Eeh,
        ["VFIO_EEH_PE_GET_STATE"] = Eeh,
        ["VFIO_EEH_PE_STATE_NORMAL"] = Eeh,
        ["VFIO_EEH_PE_STATE_RESET"] = Eeh,
        ["VFIO_EEH_PE_STATE_STOPPED"] = Eeh,
        ["VFIO_EEH_PE_STATE_STOPPED_DMA"] = Eeh,
        ["VFIO_EEH_PE_STATE_UNAVAIL"] = Eeh,
        ["VFIO_EEH_PE_RESET_DEACTIVATE"] = Eeh,
        ["VFIO_EEH_PE_RESET_HOT"] = Eeh,
        ["VFIO_EEH_PE_RESET_FUNDAMENTAL"] = Eeh,
        ["VFIO_EEH_PE_CONFIGURE"] = Eeh,
        ["VFIO_EEH_PE_INJECT_ERR"] = Eeh,
        ["VFIO_EEH_PE_OP"] = Eeh,
    };

    /// <summary>Members, as "struct.member".</summary>
    internal static IReadOnlyDictionary<string, string> Members { get; } = new Dictionary<string, string>
    {
        ["iommu_fault.padding2"] = "only sets the size of the union, which the C# struct does by Size",
    };

    /// <summary>Members of a named union, which C# flattens: "struct.field" to the C path.</summary>
    internal static IReadOnlyDictionary<string, string> Paths { get; } = new Dictionary<string, string>
    {
        ["iommu_cache_invalidate_info.pasid_info"] = "granu.pasid_info",
        ["iommu_cache_invalidate_info.addr_info"] = "granu.addr_info",
        ["iommu_gpasid_bind_data.vtd"] = "vendor.vtd",
    };
}
