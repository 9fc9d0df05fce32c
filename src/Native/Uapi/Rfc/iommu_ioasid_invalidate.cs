using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Flags of iommu_ioasid_invalidate (ours).</summary>
public static partial class Rfc
{
    /// <summary>Only this device; clear: every device attached.</summary>
    public const uint IOMMU_IOASID_INVALIDATE_COOKIE = 1 << 0;

    /// <summary>vpasid is valid, for a user-managed PASID table.</summary>
    public const uint IOMMU_IOASID_INVALIDATE_VPASID = 1 << 1;

    /// <summary>Only leaf entries changed.</summary>
    public const uint IOMMU_IOASID_INVALIDATE_LEAF = 1 << 2;
}

/// <summary>Argument of IOMMU_INVALIDATE_CACHE: a user-managed table changed. Layout ours; cache and granularity are those of Linux 5.14.</summary>
/// <remarks>Valid: DOMAIN with IOTLB or PASID cache, PASID with all, ADDR with IOTLB or DEV_IOTLB.</remarks>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_ioasid_invalidate
{
    /// <summary>In: size of this struct in bytes.</summary>
    public uint argsz;

    /// <summary>In: IOMMU_IOASID_INVALIDATE_*.</summary>
    public uint flags;

    /// <summary>In: child address space.</summary>
    public int ioasid;

    /// <summary>In: IOMMU_CACHE_INV_TYPE_*, may be combined.</summary>
    public uint cache;

    /// <summary>In: iommu_inv_granularity.</summary>
    public uint granularity;

    /// <summary>In: the user's PASID.</summary>
    public uint vpasid;

    /// <summary>In: device cookie.</summary>
    public ulong cookie;

    /// <summary>In: first address, for ADDR.</summary>
    public ulong addr;

    /// <summary>In: bytes per granule, for ADDR.</summary>
    public ulong granule_size;

    /// <summary>In: number of granules, for ADDR.</summary>
    public ulong nb_granules;
}
