using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>A part of a region.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct vfio_region_dma_range
{
    /// <summary>In: offset in bytes within the region.</summary>
    public ulong offset;

    /// <summary>In: length in bytes.</summary>
    public ulong length;
}

/// <summary>
/// Payload of VFIO_DEVICE_FEATURE_DMA_BUF: makes a dma-buf of parts of a region, for peer-to-peer DMA. An array of vfio_region_dma_range follows.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
public struct vfio_device_feature_dma_buf
{
    /// <summary>Offset in bytes of dma_ranges[] from this struct.</summary>
    public const int dma_ranges_offset = 16;

    /// <summary>In: region.</summary>
    public uint region_index;

    /// <summary>In: flags as for open: O_RDWR, O_CLOEXEC.</summary>
    public uint open_flags;

    /// <summary>In: must be 0.</summary>
    public uint flags;

    /// <summary>In: number of ranges.</summary>
    public uint nr_ranges;
}
