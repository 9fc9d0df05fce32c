using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Payload of VFIO_DEVICE_FEATURE_DMA_LOGGING_START: the device records its DMA writes.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct vfio_device_feature_dma_logging_control
{
    /// <summary>In: wanted bytes per bit. Out: what the device took.</summary>
    public ulong page_size;

    /// <summary>In: number of ranges.</summary>
    public uint num_ranges;

    /// <summary>Must be 0.</summary>
    public uint __reserved;

    /// <summary>In: address of an array of vfio_device_feature_dma_logging_range.</summary>
    public ulong ranges;
}

/// <summary>One IOVA range to watch.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct vfio_device_feature_dma_logging_range
{
    /// <summary>First address.</summary>
    public ulong iova;

    /// <summary>Length in bytes.</summary>
    public ulong length;
}

/// <summary>Payload of VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT: reads and clears the log of a range.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct vfio_device_feature_dma_logging_report
{
    /// <summary>In: first address.</summary>
    public ulong iova;

    /// <summary>In: length in bytes.</summary>
    public ulong length;

    /// <summary>In: bytes per bit, a power of two.</summary>
    public ulong page_size;

    /// <summary>In: address of an array of 64-bit words. Bits are set, never cleared.</summary>
    public ulong bitmap;
}
