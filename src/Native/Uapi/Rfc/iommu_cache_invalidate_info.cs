using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Constants of iommu_cache_invalidate_info (Linux 5.14).</summary>
public static partial class Rfc
{
    /// <summary>Version of the struct.</summary>
    public const uint IOMMU_CACHE_INVALIDATE_INFO_VERSION_1 = 1;

    /// <summary>The IOMMU's TLB.</summary>
    public const uint IOMMU_CACHE_INV_TYPE_IOTLB = 1 << 0;

    /// <summary>The device's TLB (ATS).</summary>
    public const uint IOMMU_CACHE_INV_TYPE_DEV_IOTLB = 1 << 1;

    /// <summary>The PASID cache.</summary>
    public const uint IOMMU_CACHE_INV_TYPE_PASID = 1 << 2;

    /// <summary>Number of cache types.</summary>
    public const uint IOMMU_CACHE_INV_TYPE_NR = 3;

    /// <summary>pasid is valid.</summary>
    public const uint IOMMU_INV_ADDR_FLAGS_PASID = 1 << 0;

    /// <summary>archid is valid.</summary>
    public const uint IOMMU_INV_ADDR_FLAGS_ARCHID = 1 << 1;

    /// <summary>Only leaf entries changed.</summary>
    public const uint IOMMU_INV_ADDR_FLAGS_LEAF = 1 << 2;

    /// <summary>pasid is valid.</summary>
    public const uint IOMMU_INV_PASID_FLAGS_PASID = 1 << 0;

    /// <summary>archid is valid.</summary>
    public const uint IOMMU_INV_PASID_FLAGS_ARCHID = 1 << 1;
}

/// <summary>How much to invalidate (Linux 5.14).</summary>
public enum iommu_inv_granularity : uint
{
    /// <summary>The whole address space.</summary>
    IOMMU_INV_GRANU_DOMAIN = 0,

    /// <summary>One PASID.</summary>
    IOMMU_INV_GRANU_PASID = 1,

    /// <summary>A range of addresses.</summary>
    IOMMU_INV_GRANU_ADDR = 2,

    /// <summary>Number of granularities.</summary>
    IOMMU_INV_GRANU_NR = 3,
}

/// <summary>A range to invalidate (Linux 5.14).</summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_inv_addr_info
{
    /// <summary>In: IOMMU_INV_ADDR_FLAGS_*.</summary>
    public uint flags;

    /// <summary>In: the architecture's tag, such as an ASID or a domain id.</summary>
    public uint archid;

    /// <summary>In: PASID.</summary>
    public ulong pasid;

    /// <summary>In: first address.</summary>
    public ulong addr;

    /// <summary>In: bytes per granule.</summary>
    public ulong granule_size;

    /// <summary>In: number of granules.</summary>
    public ulong nb_granules;
}

/// <summary>A PASID to invalidate (Linux 5.14).</summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_inv_pasid_info
{
    /// <summary>In: IOMMU_INV_PASID_FLAGS_*.</summary>
    public uint flags;

    /// <summary>In: the architecture's tag.</summary>
    public uint archid;

    /// <summary>In: PASID.</summary>
    public ulong pasid;
}

/// <summary>An invalidation of first-stage caches (Linux 5.14), to which the RFC refers.</summary>
[StructLayout(LayoutKind.Explicit)]
public struct iommu_cache_invalidate_info
{
    /// <summary>In: size of this struct in bytes.</summary>
    [FieldOffset(0)]
    public uint argsz;

    /// <summary>In: IOMMU_CACHE_INVALIDATE_INFO_VERSION_1.</summary>
    [FieldOffset(4)]
    public uint version;

    /// <summary>In: IOMMU_CACHE_INV_TYPE_*.</summary>
    [FieldOffset(8)]
    public byte cache;

    /// <summary>In: iommu_inv_granularity.</summary>
    [FieldOffset(9)]
    public byte granularity;

    /// <summary>Must be 0.</summary>
    [FieldOffset(10)]
    public InlineArray6<byte> padding;

    /// <summary>In: for IOMMU_INV_GRANU_PASID. In C a member of the union granu.</summary>
    [FieldOffset(16)]
    public iommu_inv_pasid_info pasid_info;

    /// <summary>In: for IOMMU_INV_GRANU_ADDR. In C a member of the union granu.</summary>
    [FieldOffset(16)]
    public iommu_inv_addr_info addr_info;
}
