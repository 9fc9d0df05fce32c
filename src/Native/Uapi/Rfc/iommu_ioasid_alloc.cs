using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Constants of IOMMU_IOASID_ALLOC.</summary>
public static partial class Rfc
{
    /// <summary>Snooping is enforced, whatever the device asks (September 2021: mandatory).</summary>
    public const uint IOMMU_IOASID_ENFORCE_SNOOP = 1 << 0;

    /// <summary>Snooping is enforced where the IOMMU can (ours). Neither bit: never enforced.</summary>
    public const uint IOMMU_IOASID_SNOOP_AUTO = 1 << 1;

    /// <summary>Pages need not be there at first: page faults are taken (ours).</summary>
    public const uint IOMMU_IOASID_FAULT = 1 << 2;

    /// <summary>Kernel-managed, mapped as in VFIO type1v2 (September 2021).</summary>
    public const uint IOMMU_IOASID_TYPE_KERNEL_TYPE1V2 = 1;

    /// <summary>User-managed: user_pgtable or user_pasid_table says which (ours).</summary>
    public const uint IOMMU_IOASID_TYPE_USER = 2;

    /// <summary>parent: this is a root (ours).</summary>
    public const int IOMMU_IOASID_NO_PARENT = -1;
}

/// <summary>Formats of user-managed tables. Numbers ours; 1 to 3 as in iommu_hwpt_data_type.</summary>
public enum iommu_ioasid_format : uint
{
    /// <summary>No user-managed table.</summary>
    IOMMU_IOASID_FORMAT_NONE = 0,

    /// <summary>Page table: Intel VT-d first stage.</summary>
    IOMMU_IOASID_FORMAT_VTD_S1 = 1,

    /// <summary>PASID table: Arm SMMUv3 context descriptors.</summary>
    IOMMU_IOASID_FORMAT_ARM_SMMUV3 = 2,

    /// <summary>PASID table: AMD GCR3.</summary>
    IOMMU_IOASID_FORMAT_AMD_GUEST = 3,

    /// <summary>Page table: Arm VMSAv8-64 stage 1.</summary>
    IOMMU_IOASID_FORMAT_ARM_LPAE_S1 = 4,

    /// <summary>Page table: AMD guest (v2).</summary>
    IOMMU_IOASID_FORMAT_AMD_V2 = 5,

    /// <summary>Page table: RISC-V first stage (Sv39, Sv48, Sv57).</summary>
    IOMMU_IOASID_FORMAT_RISCV_S1 = 6,

    /// <summary>PASID table: RISC-V process directory.</summary>
    IOMMU_IOASID_FORMAT_RISCV_PDT = 7,
}

/// <summary>
/// Argument of IOMMU_IOASID_ALLOC (September 2021): a kernel-managed root. EINVAL unless flags is exactly IOMMU_IOASID_ENFORCE_SNOOP.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_ioasid_alloc
{
    /// <summary>In: size of this struct in bytes.</summary>
    public uint argsz;

    /// <summary>In: IOMMU_IOASID_ENFORCE_SNOOP.</summary>
    public uint flags;

    /// <summary>In: IOMMU_IOASID_TYPE_KERNEL_TYPE1V2.</summary>
    public uint type;

    /// <summary>In: width of I/O virtual addresses in bits, not 0.</summary>
    public uint addr_width;
}

/// <summary>
/// Argument of IOMMU_IOASID_ALLOC with all attributes of the RFC. Layout ours: starts as iommu_ioasid_alloc, argsz tells them apart.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_ioasid_alloc_attr
{
    /// <summary>In: size of this struct in bytes.</summary>
    public uint argsz;

    /// <summary>In: IOMMU_IOASID_ENFORCE_SNOOP, _SNOOP_AUTO, _FAULT.</summary>
    public uint flags;

    /// <summary>In: IOMMU_IOASID_TYPE_*.</summary>
    public uint type;

    /// <summary>In: width of I/O virtual addresses in bits, not 0.</summary>
    public uint addr_width;

    /// <summary>In: IOASID that translates this one's output, or IOMMU_IOASID_NO_PARENT. User-managed tables need one.</summary>
    public int parent;

    /// <summary>In: iommu_ioasid_format of the user-managed table.</summary>
    public uint format;

    /// <summary>In: address of the user-managed table, in the parent's address space.</summary>
    public ulong addr;

    /// <summary>In: 1: the table is a page table.</summary>
    public uint user_pgtable;

    /// <summary>In: 1: the table is a PASID table, for all PASIDs of a device.</summary>
    public uint user_pasid_table;
}
