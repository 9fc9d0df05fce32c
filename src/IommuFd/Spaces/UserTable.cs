using IommuFd.Native.Uapi;

namespace IommuFd;

/// <summary>
/// Formats of tables that a program manages. The numbers are those of the proposal's dialect; 1 to 3 are also iommu_hwpt_data_type.
/// </summary>
public enum UserTableFormat
{
    /// <summary>Given as bytes in the kernel's words; nobody checks it before the kernel does.</summary>
    Other = 0,

    /// <summary>Page table: Intel VT-d first stage (VT-d 3.6; the x86-64 page tables of the SDM).</summary>
    VtdFirstStage = 1,

    /// <summary>PASID table: context descriptors of Arm SMMUv3 (IHI 0070, 5.4).</summary>
    ArmContextDescriptors = 2,

    /// <summary>PASID table: GCR3 table of AMD-Vi (48882, 2.2.6).</summary>
    AmdGuest = 3,

    /// <summary>Page table: Arm VMSAv8-64 stage 1.</summary>
    ArmStage1 = 4,

    /// <summary>Page table: AMD guest tables (v2).</summary>
    AmdV2 = 5,

    /// <summary>Page table: RISC-V first stage (Sv39, Sv48, Sv57).</summary>
    RiscvFirstStage = 6,

    /// <summary>PASID table: RISC-V process directory.</summary>
    RiscvProcessDirectory = 7,
}

/// <summary>A table that a program manages: where it is and how an IOMMU is to read it.</summary>
/// <param name="Format">Its format.</param>
/// <param name="Address">Address of its root, in the parent's address space.</param>
/// <param name="AddressWidth">Bits of an input address: 48 or 57 for <see cref="UserTableFormat.VtdFirstStage"/>.</param>
public sealed record UserTable(UserTableFormat Format, ulong Address, int AddressWidth = 48)
{
    /// <summary>Width of the PASIDs in a PASID table, in bits; 0: only the entry for DMA without one.</summary>
    public int PasidBits { get; init; }

    /// <summary>Whether the table holds a page table for each PASID.</summary>
    public bool IsPasidTable => Format is UserTableFormat.ArmContextDescriptors or UserTableFormat.AmdGuest or UserTableFormat.RiscvProcessDirectory;

    /// <summary>For a format that this library does not know: iommu_hwpt_data_type and the struct as bytes.</summary>
    internal (uint Type, byte[] Data)? Raw { get; init; }

    /// <summary>A table described in the kernel's words, for IOMMUs that this library does not know.</summary>
    /// <param name="type">iommu_hwpt_data_type.</param>
    /// <param name="data">The struct that belongs to it.</param>
    public static UserTable FromData(uint type, ReadOnlySpan<byte> data) => new(UserTableFormat.Other, 0) { Raw = (type, data.ToArray()) };

    /// <summary>iommu_hwpt_data_type and the struct for IOMMU_HWPT_ALLOC; null where mainline has none for the format.</summary>
    internal unsafe (iommu_hwpt_data_type Type, byte[] Data)? ToData()
    {
        switch (Format)
        {
            case UserTableFormat.Other:
                return ((iommu_hwpt_data_type)Raw!.Value.Type, Raw.Value.Data);
            case UserTableFormat.VtdFirstStage:
                iommu_hwpt_vtd_s1 vtd = new() { pgtbl_addr = Address, addr_width = (uint)AddressWidth };
                // SAFETY: the struct is on the stack
                return (iommu_hwpt_data_type.IOMMU_HWPT_DATA_VTD_S1, new ReadOnlySpan<byte>(&vtd, sizeof(iommu_hwpt_vtd_s1)).ToArray());
            case UserTableFormat.ArmContextDescriptors:
                // A stream table entry: valid, stage 1, linear table of 2^S1CDMax descriptors; DMA without a substream uses descriptor 0; cacheable,
                // shareable.
                iommu_hwpt_arm_smmuv3 arm = default;
                arm.ste[0] = 1 | (5 << 1) | Address | ((ulong)PasidBits << 59);
                arm.ste[1] = (PasidBits == 0 ? 0ul : 2) | (1 << 2) | (1 << 4) | (3 << 6);
                // SAFETY: as above
                return (iommu_hwpt_data_type.IOMMU_HWPT_DATA_ARM_SMMUV3, new ReadOnlySpan<byte>(&arm, sizeof(iommu_hwpt_arm_smmuv3)).ToArray());
            default:
                return null;
        }
    }
}
