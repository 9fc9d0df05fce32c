using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Argument of IOMMU_IOAS_COPY: maps what another address space (or the same one) has mapped; the pages stay pinned once.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_ioas_copy
{
    /// <summary>In: size of this struct in bytes.</summary>
    public uint size;

    /// <summary>In: iommufd_ioas_map_flags.</summary>
    public uint flags;

    /// <summary>In: address space that gets the mapping.</summary>
    public uint dst_ioas_id;

    /// <summary>In: address space that has it.</summary>
    public uint src_ioas_id;

    /// <summary>In: length in bytes.</summary>
    public ulong length;

    /// <summary>In with IOMMU_IOAS_MAP_FIXED_IOVA, otherwise out: where the new mapping starts.</summary>
    public ulong dst_iova;

    /// <summary>In: first IOVA in the source.</summary>
    public ulong src_iova;
}
