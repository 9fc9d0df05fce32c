using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Flags and capabilities of vfio_device_info, and the device API names of mediated devices.</summary>
public static partial class Vfio
{
    /// <summary>The device can be reset.</summary>
    public const uint VFIO_DEVICE_FLAGS_RESET = 1 << 0;

    /// <summary>A vfio-pci device.</summary>
    public const uint VFIO_DEVICE_FLAGS_PCI = 1 << 1;

    /// <summary>A vfio-platform device.</summary>
    public const uint VFIO_DEVICE_FLAGS_PLATFORM = 1 << 2;

    /// <summary>A vfio-amba device.</summary>
    public const uint VFIO_DEVICE_FLAGS_AMBA = 1 << 3;

    /// <summary>A vfio-ccw device (s390 channel I/O).</summary>
    public const uint VFIO_DEVICE_FLAGS_CCW = 1 << 4;

    /// <summary>A vfio-ap device (s390 crypto).</summary>
    public const uint VFIO_DEVICE_FLAGS_AP = 1 << 5;

    /// <summary>A vfio-fsl-mc device.</summary>
    public const uint VFIO_DEVICE_FLAGS_FSL_MC = 1 << 6;

    /// <summary>cap_offset is valid.</summary>
    public const uint VFIO_DEVICE_FLAGS_CAPS = 1 << 7;

    /// <summary>A vfio-cdx device.</summary>
    public const uint VFIO_DEVICE_FLAGS_CDX = 1 << 8;

    /// <summary>device_api of a mediated PCI device.</summary>
    public const string VFIO_DEVICE_API_PCI_STRING = "vfio-pci";

    /// <summary>device_api of a mediated platform device.</summary>
    public const string VFIO_DEVICE_API_PLATFORM_STRING = "vfio-platform";

    /// <summary>device_api of a mediated AMBA device.</summary>
    public const string VFIO_DEVICE_API_AMBA_STRING = "vfio-amba";

    /// <summary>device_api of a mediated channel I/O device.</summary>
    public const string VFIO_DEVICE_API_CCW_STRING = "vfio-ccw";

    /// <summary>device_api of a mediated crypto device.</summary>
    public const string VFIO_DEVICE_API_AP_STRING = "vfio-ap";

    /// <summary>Capability: s390 PCI base information (linux/vfio_zdev.h).</summary>
    public const ushort VFIO_DEVICE_INFO_CAP_ZPCI_BASE = 1;

    /// <summary>Capability: s390 PCI group information (linux/vfio_zdev.h).</summary>
    public const ushort VFIO_DEVICE_INFO_CAP_ZPCI_GROUP = 2;

    /// <summary>Capability: s390 PCI utility string (linux/vfio_zdev.h).</summary>
    public const ushort VFIO_DEVICE_INFO_CAP_ZPCI_UTIL = 3;

    /// <summary>Capability: s390 PCI function path (linux/vfio_zdev.h).</summary>
    public const ushort VFIO_DEVICE_INFO_CAP_ZPCI_PFIP = 4;

    /// <summary>Capability: vfio_device_info_cap_pci_atomic_comp.</summary>
    public const ushort VFIO_DEVICE_INFO_CAP_PCI_ATOMIC_COMP = 5;

    /// <summary>32-bit AtomicOps complete at the root.</summary>
    public const uint VFIO_PCI_ATOMIC_COMP32 = 1 << 0;

    /// <summary>64-bit AtomicOps complete at the root.</summary>
    public const uint VFIO_PCI_ATOMIC_COMP64 = 1 << 1;

    /// <summary>128-bit AtomicOps complete at the root.</summary>
    public const uint VFIO_PCI_ATOMIC_COMP128 = 1 << 2;
}

/// <summary>Argument of VFIO_DEVICE_GET_INFO. Capabilities follow it in the same buffer.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct vfio_device_info
{
    /// <summary>In: size of the buffer in bytes. Out: size needed.</summary>
    public uint argsz;

    /// <summary>Out: VFIO_DEVICE_FLAGS_*.</summary>
    public uint flags;

    /// <summary>Out: highest region index + 1.</summary>
    public uint num_regions;

    /// <summary>Out: highest interrupt index + 1.</summary>
    public uint num_irqs;

    /// <summary>Out: offset in bytes from this struct to the first capability, 0 without one.</summary>
    public uint cap_offset;

    /// <summary>0.</summary>
    public uint pad;
}

/// <summary>Capability VFIO_DEVICE_INFO_CAP_PCI_ATOMIC_COMP: AtomicOp completion towards the root complex.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct vfio_device_info_cap_pci_atomic_comp
{
    /// <summary>Head of the capability.</summary>
    public vfio_info_cap_header header;

    /// <summary>Out: VFIO_PCI_ATOMIC_COMP*.</summary>
    public uint flags;

    /// <summary>0.</summary>
    public uint reserved;
}
