using IommuFd.Native.Uapi;

namespace IommuFd;

/// <summary>What the registers of IOMMU_GET_HW_INFO say, where this library knows the family.</summary>
internal static class HardwareFacts
{
    private const ulong Page4K = 1UL << 12, Page2M = 1UL << 21, Page1G = 1UL << 30;

    /// <summary>Why the IOMMU cannot walk a program's table on top of the kernel's; null when it can, or nobody knows.</summary>
    internal static string? WhyNoNesting(HwInfo info)
    {
        switch (info.Type)
        {
            case iommu_hw_info_type.IOMMU_HW_INFO_TYPE_INTEL_VTD:
                ulong ecap = info.As<iommu_hw_info_vtd>().ecap_reg;
                return !Bit(ecap, 43) ? "the VT-d unit has no scalable mode (ECAP.SMTS)" // VT-d specification 11.4.3
                    : !Bit(ecap, 26) || !Bit(ecap, 47) ? "the VT-d unit has no nested translation (ECAP.NEST, ECAP.FSTS)" : null;
            case iommu_hw_info_type.IOMMU_HW_INFO_TYPE_ARM_SMMUV3:
                uint idr0 = info.As<iommu_hw_info_arm_smmuv3>().idr[0];
                return (idr0 & 3) == 3 ? null : "the SMMU has only one of stage 1 and stage 2 (IDR0.S1P, IDR0.S2P)"; // IHI 0070 6.3.1
            default:
                return null;
        }
    }

    /// <summary>The formats of user-managed tables that mainline takes for the IOMMU.</summary>
    internal static IReadOnlyList<UserTableFormat> Formats(HwInfo info) => WhyNoNesting(info) is not null ? [] : info.Type switch
    {
        iommu_hw_info_type.IOMMU_HW_INFO_TYPE_INTEL_VTD => [UserTableFormat.VtdFirstStage],
        iommu_hw_info_type.IOMMU_HW_INFO_TYPE_ARM_SMMUV3 => [UserTableFormat.ArmContextDescriptors],
        _ => [],
    };

    /// <summary>Page sizes of the kernel's tables, one bit each; 0 when they cannot be told from the registers.</summary>
    internal static ulong PageSizes(HwInfo info)
    {
        switch (info.Type)
        {
            case iommu_hw_info_type.IOMMU_HW_INFO_TYPE_INTEL_VTD:
                iommu_hw_info_vtd vtd = info.As<iommu_hw_info_vtd>();
                bool firstStage = Bit(vtd.ecap_reg, 43) && Bit(vtd.ecap_reg, 47); // then the kernel's tables are first-stage ones
                return firstStage
                    ? Page4K | Page2M | (Bit(vtd.cap_reg, 56) ? Page1G : 0)
                    : Page4K | (Bit(vtd.cap_reg, 34) ? Page2M : 0) | (Bit(vtd.cap_reg, 35) ? Page1G : 0);
            case iommu_hw_info_type.IOMMU_HW_INFO_TYPE_ARM_SMMUV3:
                uint idr5 = info.As<iommu_hw_info_arm_smmuv3>().idr[5]; // GRAN4K, GRAN16K, GRAN64K; one granule is used, the kernel's page size
                return Bit(idr5, 4) && Environment.SystemPageSize == 4096 ? Page4K | Page2M | Page1G : 0;
            case iommu_hw_info_type.IOMMU_HW_INFO_TYPE_AMD:
                return ~(Page4K - 1); // v1 tables: every power of two
            default:
                return 0;
        }
    }

    /// <summary>Whether the IOMMU makes DMA coherent that asks not to be; null when the registers do not tell.</summary>
    internal static bool? EnforcesSnoop(HwInfo info) => info.Type switch
    {
        iommu_hw_info_type.IOMMU_HW_INFO_TYPE_INTEL_VTD => Bit(info.As<iommu_hw_info_vtd>().ecap_reg, 7), // ECAP.SC
        iommu_hw_info_type.IOMMU_HW_INFO_TYPE_ARM_SMMUV3 or iommu_hw_info_type.IOMMU_HW_INFO_TYPE_AMD => true,
        _ => null,
    };

    /// <summary>The registers behind the answers.</summary>
    internal static IEnumerable<Evidence> Evidence(HwInfo info)
    {
        if (info.Type == iommu_hw_info_type.IOMMU_HW_INFO_TYPE_INTEL_VTD)
        {
            yield return IommuFd.Evidence.Hex("cap", info.As<iommu_hw_info_vtd>().cap_reg);
            yield return IommuFd.Evidence.Hex("ecap", info.As<iommu_hw_info_vtd>().ecap_reg);
        }
        else if (info.Type == iommu_hw_info_type.IOMMU_HW_INFO_TYPE_ARM_SMMUV3)
        {
            yield return IommuFd.Evidence.Hex("idr0", info.As<iommu_hw_info_arm_smmuv3>().idr[0]);
        }
    }

    private static bool Bit(ulong register, int bit) => ((register >> bit) & 1) != 0;
}
