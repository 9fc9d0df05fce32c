using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Argument of IOMMU_IOAS_NOIOMMU_GET_PA: the physical address behind a mapped IOVA, for devices without an IOMMU (unsafe DMA).</summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_ioas_noiommu_get_pa
{
    /// <summary>In: size of this struct in bytes.</summary>
    public uint size;

    /// <summary>In: must be 0.</summary>
    public uint flags;

    /// <summary>In: address space.</summary>
    public uint ioas_id;

    /// <summary>Must be 0.</summary>
    public uint __reserved;

    /// <summary>In: first IOVA; must be mapped.</summary>
    public ulong iova;

    /// <summary>In: most bytes of interest, not 0. Out: bytes that are physically contiguous from out_phys on, at most the input.</summary>
    public ulong length;

    /// <summary>Out: physical address of iova.</summary>
    public ulong out_phys;
}
