using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>What IOMMU_VFIO_IOAS does.</summary>
public enum iommufd_vfio_ioas_op : uint
{
    /// <summary>Report the address space in use.</summary>
    IOMMU_VFIO_IOAS_GET = 0,

    /// <summary>Use the given address space from now on.</summary>
    IOMMU_VFIO_IOAS_SET = 1,

    /// <summary>Use none.</summary>
    IOMMU_VFIO_IOAS_CLEAR = 2,
}

/// <summary>Argument of IOMMU_VFIO_IOAS: the address space that an iommufd used as a VFIO container maps into.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_vfio_ioas
{
    /// <summary>In: size of this struct in bytes.</summary>
    public uint size;

    /// <summary>In on set, out on get: address space.</summary>
    public uint ioas_id;

    /// <summary>In: iommufd_vfio_ioas_op.</summary>
    public ushort op;

    /// <summary>Must be 0.</summary>
    public ushort __reserved;
}
