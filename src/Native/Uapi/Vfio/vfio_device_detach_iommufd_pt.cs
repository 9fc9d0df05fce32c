using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Flags of vfio_device_detach_iommufd_pt.</summary>
public static partial class Vfio
{
    /// <summary>Detach the PASID in pasid, not the device itself.</summary>
    public const uint VFIO_DEVICE_DETACH_PASID = 1 << 0;
}

/// <summary>Argument of VFIO_DEVICE_DETACH_IOMMUFD_PT: takes the address space away; all DMA is blocked afterwards.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct vfio_device_detach_iommufd_pt
{
    /// <summary>In: size of this struct in bytes.</summary>
    public uint argsz;

    /// <summary>In: VFIO_DEVICE_DETACH_PASID or 0.</summary>
    public uint flags;

    /// <summary>In: PASID, with VFIO_DEVICE_DETACH_PASID.</summary>
    public uint pasid;
}
