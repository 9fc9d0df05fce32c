namespace IommuFd;

/// <summary>What devices may do with a mapping. The values are those of IOMMU_IOAS_MAP_*.</summary>
[Flags]
public enum DmaAccess
{
    /// <summary>Nothing; the kernel refuses such a mapping.</summary>
    None = 0,

    /// <summary>Devices may write (IOMMU_IOAS_MAP_WRITEABLE).</summary>
    Write = 1 << 1,

    /// <summary>Devices may read (IOMMU_IOAS_MAP_READABLE).</summary>
    Read = 1 << 2,

    /// <summary>Both.</summary>
    ReadWrite = Read | Write,
}
