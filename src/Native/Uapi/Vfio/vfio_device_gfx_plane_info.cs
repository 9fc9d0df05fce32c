using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Flags of vfio_device_gfx_plane_info.</summary>
public static partial class Vfio
{
    /// <summary>Only ask whether the other type is supported.</summary>
    public const uint VFIO_GFX_PLANE_TYPE_PROBE = 1 << 0;

    /// <summary>Plane as dma-buf.</summary>
    public const uint VFIO_GFX_PLANE_TYPE_DMABUF = 1 << 1;

    /// <summary>Plane as device region.</summary>
    public const uint VFIO_GFX_PLANE_TYPE_REGION = 1 << 2;
}

/// <summary>Argument of VFIO_DEVICE_QUERY_GFX_PLANE: one plane of a virtual display. Format and sizes are 0 for a disabled plane.</summary>
[StructLayout(LayoutKind.Explicit)]
public struct vfio_device_gfx_plane_info
{
    /// <summary>In: size of this struct in bytes.</summary>
    [FieldOffset(0)]
    public uint argsz;

    /// <summary>In: VFIO_GFX_PLANE_TYPE_*.</summary>
    [FieldOffset(4)]
    public uint flags;

    /// <summary>In: DRM_PLANE_TYPE_*.</summary>
    [FieldOffset(8)]
    public uint drm_plane_type;

    /// <summary>Out: DRM format code.</summary>
    [FieldOffset(12)]
    public uint drm_format;

    /// <summary>Out: DRM format modifier.</summary>
    [FieldOffset(16)]
    public ulong drm_format_mod;

    /// <summary>Out: width in pixels.</summary>
    [FieldOffset(24)]
    public uint width;

    /// <summary>Out: height in pixels.</summary>
    [FieldOffset(28)]
    public uint height;

    /// <summary>Out: bytes per line.</summary>
    [FieldOffset(32)]
    public uint stride;

    /// <summary>Out: size in bytes, page aligned.</summary>
    [FieldOffset(36)]
    public uint size;

    /// <summary>Out: horizontal position of a cursor plane.</summary>
    [FieldOffset(40)]
    public uint x_pos;

    /// <summary>Out: vertical position of a cursor plane.</summary>
    [FieldOffset(44)]
    public uint y_pos;

    /// <summary>Out: horizontal hot spot, 0xffffffff without one.</summary>
    [FieldOffset(48)]
    public uint x_hot;

    /// <summary>Out: vertical hot spot, 0xffffffff without one.</summary>
    [FieldOffset(52)]
    public uint y_hot;

    /// <summary>Out: region with the plane, for VFIO_GFX_PLANE_TYPE_REGION.</summary>
    [FieldOffset(56)]
    public uint region_index;

    /// <summary>Out: argument for VFIO_DEVICE_GET_GFX_DMABUF, for VFIO_GFX_PLANE_TYPE_DMABUF.</summary>
    [FieldOffset(56)]
    public uint dmabuf_id;

    /// <summary>0.</summary>
    [FieldOffset(60)]
    public uint reserved;
}
