using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Flags of vfio_device_feature and the feature numbers.</summary>
public static partial class Vfio
{
    /// <summary>Mask of the feature number in flags.</summary>
    public const uint VFIO_DEVICE_FEATURE_MASK = 0xffff;

    /// <summary>Read the feature into the payload.</summary>
    public const uint VFIO_DEVICE_FEATURE_GET = 1 << 16;

    /// <summary>Write the feature from the payload.</summary>
    public const uint VFIO_DEVICE_FEATURE_SET = 1 << 17;

    /// <summary>Only ask whether it is supported, with the GET and SET bits given; no payload.</summary>
    public const uint VFIO_DEVICE_FEATURE_PROBE = 1 << 18;

    /// <summary>Feature (set): 16-byte UUID that openers of this function's VFs must present.</summary>
    public const uint VFIO_DEVICE_FEATURE_PCI_VF_TOKEN = 0;

    /// <summary>Feature (get): vfio_device_feature_migration.</summary>
    public const uint VFIO_DEVICE_FEATURE_MIGRATION = 1;

    /// <summary>Feature (get, set): vfio_device_feature_mig_state.</summary>
    public const uint VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE = 2;

    /// <summary>Feature (set), no payload: the device may enter low power.</summary>
    public const uint VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY = 3;

    /// <summary>Feature (set): vfio_device_low_power_entry_with_wakeup.</summary>
    public const uint VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP = 4;

    /// <summary>Feature (set), no payload: low power is not allowed any more.</summary>
    public const uint VFIO_DEVICE_FEATURE_LOW_POWER_EXIT = 5;

    /// <summary>Feature (set): vfio_device_feature_dma_logging_control.</summary>
    public const uint VFIO_DEVICE_FEATURE_DMA_LOGGING_START = 6;

    /// <summary>Feature (set), no payload: ends DMA logging.</summary>
    public const uint VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP = 7;

    /// <summary>Feature (get): vfio_device_feature_dma_logging_report.</summary>
    public const uint VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT = 8;

    /// <summary>Feature (get): vfio_device_feature_mig_data_size.</summary>
    public const uint VFIO_DEVICE_FEATURE_MIG_DATA_SIZE = 9;

    /// <summary>Feature (set): vfio_device_feature_bus_master.</summary>
    public const uint VFIO_DEVICE_FEATURE_BUS_MASTER = 10;

    /// <summary>Feature (get): vfio_device_feature_dma_buf; returns a descriptor.</summary>
    public const uint VFIO_DEVICE_FEATURE_DMA_BUF = 11;

    /// <summary>Feature (set), no payload: vfio_precopy_info.flags is an output from now on.</summary>
    public const uint VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2 = 12;

    /// <summary>Feature (get): vfio_device_feature_zpci_err.</summary>
    public const uint VFIO_DEVICE_FEATURE_ZPCI_ERROR = 13;
}

/// <summary>Argument of VFIO_DEVICE_FEATURE. The feature's payload follows.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct vfio_device_feature
{
    /// <summary>Offset in bytes of data[] from this struct.</summary>
    public const int data_offset = 8;

    /// <summary>In: size in bytes of this struct and the payload.</summary>
    public uint argsz;

    /// <summary>In: feature number and VFIO_DEVICE_FEATURE_GET, _SET, _PROBE.</summary>
    public uint flags;
}
