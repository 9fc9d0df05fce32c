using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Flags of IOMMU_IOAS_MAP, IOMMU_IOAS_MAP_FILE and IOMMU_IOAS_COPY.</summary>
[Flags]
public enum iommufd_ioas_map_flags : uint
{
    /// <summary>The caller chooses the IOVA. Clear: the kernel does and reports it.</summary>
    IOMMU_IOAS_MAP_FIXED_IOVA = 1 << 0,

    /// <summary>Devices may write.</summary>
    IOMMU_IOAS_MAP_WRITEABLE = 1 << 1,

    /// <summary>Devices may read.</summary>
    IOMMU_IOAS_MAP_READABLE = 1 << 2,
}

/// <summary>Argument of IOMMU_IOAS_MAP: pins process memory and gives it an IOVA. Never replaces a mapping (EEXIST).</summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_ioas_map
{
    /// <summary>In: size of this struct in bytes.</summary>
    public uint size;

    /// <summary>In: iommufd_ioas_map_flags.</summary>
    public uint flags;

    /// <summary>In: address space.</summary>
    public uint ioas_id;

    /// <summary>Must be 0.</summary>
    public uint __reserved;

    /// <summary>In: process address of the first byte.</summary>
    public ulong user_va;

    /// <summary>In: length in bytes.</summary>
    public ulong length;

    /// <summary>In with IOMMU_IOAS_MAP_FIXED_IOVA, otherwise out: where the mapping starts.</summary>
    public ulong iova;
}
