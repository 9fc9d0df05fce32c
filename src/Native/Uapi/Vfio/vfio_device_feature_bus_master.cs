using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Operations of vfio_device_feature_bus_master.</summary>
public static partial class Vfio
{
    /// <summary>Forbid DMA.</summary>
    public const uint VFIO_DEVICE_FEATURE_CLEAR_MASTER = 0;

    /// <summary>Allow DMA.</summary>
    public const uint VFIO_DEVICE_FEATURE_SET_MASTER = 1;
}

/// <summary>Payload of VFIO_DEVICE_FEATURE_BUS_MASTER, for buses without such a control of their own (CDX).</summary>
[StructLayout(LayoutKind.Sequential)]
public struct vfio_device_feature_bus_master
{
    /// <summary>In: VFIO_DEVICE_FEATURE_CLEAR_MASTER or VFIO_DEVICE_FEATURE_SET_MASTER.</summary>
    public uint op;
}
