using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>
/// Argument of IOMMU_IOAS_ALLOW_IOVAS: ranges that must stay mappable; an attach that would narrow them fails. Replaces the whole earlier list.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_ioas_allow_iovas
{
    /// <summary>In: size of this struct in bytes.</summary>
    public uint size;

    /// <summary>In: address space.</summary>
    public uint ioas_id;

    /// <summary>In: number of ranges in the array; 0 removes the promise.</summary>
    public uint num_iovas;

    /// <summary>Must be 0.</summary>
    public uint __reserved;

    /// <summary>In: address of an array of iommu_iova_range.</summary>
    public ulong allowed_iovas;
}
