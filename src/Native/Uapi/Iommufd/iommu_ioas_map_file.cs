using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>
/// Argument of IOMMU_IOAS_MAP_FILE: as iommu_ioas_map, but the memory is a memfd or a supported dma-buf instead of a process address.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_ioas_map_file
{
    /// <summary>In: size of this struct in bytes.</summary>
    public uint size;

    /// <summary>In: iommufd_ioas_map_flags.</summary>
    public uint flags;

    /// <summary>In: address space.</summary>
    public uint ioas_id;

    /// <summary>In: descriptor of the memfd or dma-buf.</summary>
    public int fd;

    /// <summary>In: offset in the file of the first byte.</summary>
    public ulong start;

    /// <summary>In: length in bytes.</summary>
    public ulong length;

    /// <summary>In with IOMMU_IOAS_MAP_FIXED_IOVA, otherwise out: where the mapping starts.</summary>
    public ulong iova;
}
