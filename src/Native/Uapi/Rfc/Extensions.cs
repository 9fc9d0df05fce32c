namespace IommuFd.Native.Uapi;

/// <summary>Extensions: arguments of IOMMU_CHECK_EXTENSION. The first two values are of September 2021, the others ours.</summary>
public static partial class Rfc
{
    /// <summary>Mapping as in VFIO type1v2.</summary>
    public const uint EXT_MAP_TYPE1V2 = 1;

    /// <summary>Address spaces that do not enforce snooping.</summary>
    public const uint EXT_DMA_NO_SNOOP = 2;

    /// <summary>A better kind of mapping (value ours).</summary>
    public const uint EXT_MAP_NEWTYPE = 3;

    /// <summary>Child address spaces (value ours).</summary>
    public const uint EXT_IOASID_NESTING = 4;

    /// <summary>User-managed page tables (value ours).</summary>
    public const uint EXT_USER_PAGE_TABLE = 5;

    /// <summary>User-managed PASID tables (value ours).</summary>
    public const uint EXT_USER_PASID_TABLE = 6;

    /// <summary>Groups of several devices (value ours).</summary>
    public const uint EXT_MULTIDEV_GROUP = 7;

    /// <summary>Dirty pages can be tracked (value ours).</summary>
    public const uint EXT_DIRTY_TRACKING = 8;

    /// <summary>Page faults are reported (name and value ours).</summary>
    public const uint EXT_IOASID_FAULT = 9;
}
