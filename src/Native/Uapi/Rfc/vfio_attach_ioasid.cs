using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Flags of vfio_attach_ioasid.</summary>
public static partial class Rfc
{
    /// <summary>Attach the PASID in vpasid, not the device itself (name the RFC's, value ours).</summary>
    public const uint IOASID_ATTACH_VPASID = 1 << 0;

    /// <summary>The user will really use no-snoop DMA (ours, for the RFC's hint).</summary>
    public const uint IOASID_ATTACH_NO_SNOOP = 1 << 1;

    /// <summary>The user will not use no-snoop DMA (ours, the hint's other answer).</summary>
    public const uint IOASID_ATTACH_SNOOP = 1 << 2;
}

/// <summary>Argument of VFIO_ATTACH_IOASID and VFIO_DETACH_IOASID. Layout ours, field names the RFC's.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct vfio_attach_ioasid
{
    /// <summary>In: size of this struct in bytes.</summary>
    public uint argsz;

    /// <summary>In: IOASID_ATTACH_*.</summary>
    public uint flags;

    /// <summary>In: descriptor of /dev/iommu that the device is bound to.</summary>
    public int iommu_fd;

    /// <summary>In: address space.</summary>
    public int ioasid;

    /// <summary>In: the user's PASID, with IOASID_ATTACH_VPASID.</summary>
    public uint vpasid;

    /// <summary>Must be 0.</summary>
    public uint __reserved;
}
