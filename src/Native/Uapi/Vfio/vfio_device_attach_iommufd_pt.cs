using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Flags of vfio_device_attach_iommufd_pt.</summary>
public static partial class Vfio
{
    /// <summary>Attach the PASID in pasid, not the device itself.</summary>
    public const uint VFIO_DEVICE_ATTACH_PASID = 1 << 0;
}

/// <summary>
/// Argument of VFIO_DEVICE_ATTACH_IOMMUFD_PT: gives the device, or one PASID of it, an address space; replaces an earlier one in one step.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
public struct vfio_device_attach_iommufd_pt
{
    /// <summary>In: size of this struct in bytes.</summary>
    public uint argsz;

    /// <summary>In: VFIO_DEVICE_ATTACH_PASID or 0.</summary>
    public uint flags;

    /// <summary>In: id of an IOAS or of a page table. Out: the page table in use, or the IOAS that was given.</summary>
    public uint pt_id;

    /// <summary>In: PASID, with VFIO_DEVICE_ATTACH_PASID.</summary>
    public uint pasid;
}
