using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Constants of iommu_gpasid_bind_data (Linux 5.14).</summary>
public static partial class Rfc
{
    /// <summary>Version of the struct.</summary>
    public const uint IOMMU_GPASID_BIND_VERSION_1 = 1;

    /// <summary>Intel VT-d scalable mode.</summary>
    public const uint IOMMU_PASID_FORMAT_INTEL_VTD = 1;

    /// <summary>Number of formats + 1.</summary>
    public const uint IOMMU_PASID_FORMAT_LAST = 2;

    /// <summary>gpasid is valid.</summary>
    public const ulong IOMMU_SVA_GPASID_VAL = 1 << 0;

    /// <summary>Supervisor requests are allowed.</summary>
    public const ulong IOMMU_SVA_VTD_GPASID_SRE = 1 << 0;

    /// <summary>The extended-accessed flag is maintained.</summary>
    public const ulong IOMMU_SVA_VTD_GPASID_EAFE = 1 << 1;

    /// <summary>Page-level cache disable.</summary>
    public const ulong IOMMU_SVA_VTD_GPASID_PCD = 1 << 2;

    /// <summary>Page-level write-through.</summary>
    public const ulong IOMMU_SVA_VTD_GPASID_PWT = 1 << 3;

    /// <summary>Extended memory type enable.</summary>
    public const ulong IOMMU_SVA_VTD_GPASID_EMTE = 1 << 4;

    /// <summary>PASID-level cache disable.</summary>
    public const ulong IOMMU_SVA_VTD_GPASID_CD = 1 << 5;

    /// <summary>Write protection binds supervisor requests.</summary>
    public const ulong IOMMU_SVA_VTD_GPASID_WPE = 1 << 6;

    /// <summary>First bit that is not in use.</summary>
    public const ulong IOMMU_SVA_VTD_GPASID_LAST = 1 << 7;

    /// <summary>The memory-type bits.</summary>
    public const ulong IOMMU_SVA_VTD_GPASID_MTS_MASK =
        IOMMU_SVA_VTD_GPASID_CD | IOMMU_SVA_VTD_GPASID_EMTE | IOMMU_SVA_VTD_GPASID_PCD | IOMMU_SVA_VTD_GPASID_PWT;
}

/// <summary>Intel VT-d part of iommu_gpasid_bind_data (Linux 5.14).</summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_gpasid_bind_data_vtd
{
    /// <summary>In: IOMMU_SVA_VTD_GPASID_*.</summary>
    public ulong flags;

    /// <summary>In: page attribute table.</summary>
    public uint pat;

    /// <summary>In: extended memory type.</summary>
    public uint emt;
}

/// <summary>Binds a guest's first-stage table to a PASID (Linux 5.14), what the RFC's user page table replaces.</summary>
[StructLayout(LayoutKind.Explicit)]
public struct iommu_gpasid_bind_data
{
    /// <summary>In: size of this struct in bytes.</summary>
    [FieldOffset(0)]
    public uint argsz;

    /// <summary>In: IOMMU_GPASID_BIND_VERSION_1.</summary>
    [FieldOffset(4)]
    public uint version;

    /// <summary>In: IOMMU_PASID_FORMAT_*.</summary>
    [FieldOffset(8)]
    public uint format;

    /// <summary>In: width of guest virtual addresses in bits.</summary>
    [FieldOffset(12)]
    public uint addr_width;

    /// <summary>In: IOMMU_SVA_GPASID_VAL.</summary>
    [FieldOffset(16)]
    public ulong flags;

    /// <summary>In: guest physical address of the table.</summary>
    [FieldOffset(24)]
    public ulong gpgd;

    /// <summary>In: the host's PASID.</summary>
    [FieldOffset(32)]
    public ulong hpasid;

    /// <summary>In: the guest's PASID.</summary>
    [FieldOffset(40)]
    public ulong gpasid;

    /// <summary>Must be 0.</summary>
    [FieldOffset(48)]
    public InlineArray8<byte> padding;

    /// <summary>In: for IOMMU_PASID_FORMAT_INTEL_VTD. In C a member of the union vendor.</summary>
    [FieldOffset(56)]
    public iommu_gpasid_bind_data_vtd vtd;
}
