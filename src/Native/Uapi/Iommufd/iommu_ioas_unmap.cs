using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>
/// Argument of IOMMU_IOAS_UNMAP: removes whole mappings inside a range. A range that would cut one is refused (ENOENT); 0 with length 2^64-1
/// removes all.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_ioas_unmap
{
    /// <summary>In: size of this struct in bytes.</summary>
    public uint size;

    /// <summary>In: address space.</summary>
    public uint ioas_id;

    /// <summary>In: first IOVA.</summary>
    public ulong iova;

    /// <summary>In: length in bytes. Out: bytes that were unmapped.</summary>
    public ulong length;
}
