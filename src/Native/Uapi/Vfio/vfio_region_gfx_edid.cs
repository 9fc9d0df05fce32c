using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Link states of vfio_region_gfx_edid.</summary>
public static partial class Vfio
{
    /// <summary>Monitor on.</summary>
    public const uint VFIO_DEVICE_GFX_LINK_STATE_UP = 1;

    /// <summary>Monitor off.</summary>
    public const uint VFIO_DEVICE_GFX_LINK_STATE_DOWN = 2;
}

/// <summary>Start of an EDID region: the virtual monitor's description. Set the link down, write the blob and its size, set the link up.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct vfio_region_gfx_edid
{
    /// <summary>Out: offset in bytes of the blob in the region.</summary>
    public uint edid_offset;

    /// <summary>Out: most bytes a blob may have.</summary>
    public uint edid_max_size;

    /// <summary>In and out: bytes of the blob.</summary>
    public uint edid_size;

    /// <summary>Out: greatest width in pixels, 0 for no limit.</summary>
    public uint max_xres;

    /// <summary>Out: greatest height in pixels, 0 for no limit.</summary>
    public uint max_yres;

    /// <summary>In and out: VFIO_DEVICE_GFX_LINK_STATE_*.</summary>
    public uint link_state;
}
