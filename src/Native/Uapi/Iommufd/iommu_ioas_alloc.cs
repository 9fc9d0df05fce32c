using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Argument of IOMMU_IOAS_ALLOC: makes an empty I/O address space, a set of IOVA to memory mappings.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_ioas_alloc
{
    /// <summary>In: size of this struct in bytes.</summary>
    public uint size;

    /// <summary>In: must be 0.</summary>
    public uint flags;

    /// <summary>Out: object id of the new address space.</summary>
    public uint out_ioas_id;
}
