using System.Globalization;
using IommuFd;
using IommuFd.Native.Uapi;

namespace VfioCli.Diagnosis;

/// <summary>What IOMMU_GET_HW_INFO says about the page tables that a device walks, in words.</summary>
internal static class PageTableText
{
    /// <summary>The format for a bound device; a kernel that does not say is said to.</summary>
    public static string Of(BoundDevice device)
    {
        HwInfo info;
        try
        {
            info = device.Context.GetHwInfo(device.DeviceId);
        }
        catch (IommuFdException exception)
        {
            return $"none that the kernel shows ({exception.ErrnoName})"; // a mediated device, or no IOMMU
        }

        string format = info.Type switch
        {
            iommu_hw_info_type.IOMMU_HW_INFO_TYPE_INTEL_VTD => Vtd(info.As<iommu_hw_info_vtd>()),
            iommu_hw_info_type.IOMMU_HW_INFO_TYPE_ARM_SMMUV3 => Smmu(info.As<iommu_hw_info_arm_smmuv3>()),
            iommu_hw_info_type.IOMMU_HW_INFO_TYPE_AMD => Amd(info.As<iommu_hw_info_amd>()),
            iommu_hw_info_type.IOMMU_HW_INFO_TYPE_NONE => "not told by the IOMMU's driver",
            _ => string.Create(CultureInfo.InvariantCulture, $"hardware type {(uint)info.Type}"),
        };
        string pasid = info.MaxPasidLog2 == 0 ? "no PASID" : string.Create(CultureInfo.InvariantCulture, $"PASID of {info.MaxPasidLog2} bits");
        return $"{format}; {pasid};"
            + $" {((info.Capabilities & iommufd_hw_capabilities.IOMMU_HW_CAP_DIRTY_TRACKING) != 0 ? "dirty tracking" : "no dirty tracking")}";
    }

    // VT-d specification 10.4.2 and 10.4.3. Linux takes the first stage where scalable mode has it.
    private static string Vtd(iommu_hw_info_vtd info)
    {
        bool first = Bit(info.ecap_reg, 43) && Bit(info.ecap_reg, 47);
        string levels = first
            ? Bit(info.cap_reg, 60) ? "up to 5 levels"
            : "4 levels"
            : Bit(info.cap_reg, 11) ? "up to 5 levels"
            : Bit(info.cap_reg, 10) ? "up to 4 levels"
            : "3 levels";
        string pages = "4 KiB" + (first || Bit(info.cap_reg, 34) ? ", 2 MiB" : "") + (Bit(info.cap_reg, first ? 56 : 35) ? ", 1 GiB" : "");
        return $"VT-d {(first ? "first stage" : "second stage")}, {levels}, pages of {pages}{(Bit(info.ecap_reg, 26) ? ", nesting" : "")}";
    }

    // Arm SMMUv3 architecture 6.3.1 (IDR0) and 6.3.6 (IDR5).
    private static string Smmu(iommu_hw_info_arm_smmuv3 info)
    {
        uint idr0 = info.idr[0], idr5 = info.idr[5];
        string granules = string.Join(", ", new[] { (idr5 & 0x10) != 0 ? "4 KiB" : null, (idr5 & 0x20) != 0 ? "16 KiB" : null,
            (idr5 & 0x40) != 0 ? "64 KiB" : null }.OfType<string>());
        return $"SMMUv3 {((idr0 & 2) != 0 ? "stage 1" : "")}{((idr0 & 3) == 3 ? " and " : "")}{((idr0 & 1) != 0 ? "stage 2" : "")}, granules of"
            + $" {granules}{((idr0 & 3) == 3 ? ", nesting" : "")}";
    }

    // AMD I/O Virtualization Technology Specification 3.4.10.
    private static string Amd(iommu_hw_info_amd info) =>
        string.Create(CultureInfo.InvariantCulture,
            $"AMD-Vi v1, up to {4 + ((info.efr >> 10) & 3)} levels, pages of 4 KiB and every power of two"
                + $" above{(Bit(info.efr, 4) ? ", nesting" : "")}");

    private static bool Bit(ulong value, int bit) => ((value >> bit) & 1) != 0;
}
