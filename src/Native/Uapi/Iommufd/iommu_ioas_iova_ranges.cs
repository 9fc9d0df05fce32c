using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Argument of IOMMU_IOAS_IOVA_RANGES: which IOVAs may be mapped now. Every attach can narrow the answer, every detach widen it.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_ioas_iova_ranges
{
    /// <summary>In: size of this struct in bytes.</summary>
    public uint size;

    /// <summary>In: address space to ask.</summary>
    public uint ioas_id;

    /// <summary>In: length of the array at allowed_iovas. Out: number of ranges there are (EMSGSIZE when it was too short).</summary>
    public uint num_iovas;

    /// <summary>Must be 0.</summary>
    public uint __reserved;

    /// <summary>In: address of an array of iommu_iova_range that is filled.</summary>
    public ulong allowed_iovas;

    /// <summary>Out: alignment in bytes that start and length of a mapping must have; 1 up to the page size.</summary>
    public ulong out_iova_alignment;
}
