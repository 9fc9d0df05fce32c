using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Constants of the PCI hot reset.</summary>
public static partial class Vfio
{
    /// <summary>devid: owned, because it shares an owned device's IOMMU group.</summary>
    public const uint VFIO_PCI_DEVID_OWNED = 0;

    /// <summary>devid: not owned by this context; a reset is not possible.</summary>
    public const uint VFIO_PCI_DEVID_NOT_OWNED = 0xffffffff;

    /// <summary>The devices carry devid (the device was opened as cdev), not group_id.</summary>
    public const uint VFIO_PCI_HOT_RESET_FLAG_DEV_ID = 1 << 0;

    /// <summary>All devices are owned: a reset with an empty descriptor array will be accepted.</summary>
    public const uint VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED = 1 << 1;
}

/// <summary>One device that a hot reset takes along.</summary>
[StructLayout(LayoutKind.Explicit)]
public struct vfio_pci_dependent_device
{
    /// <summary>Out: IOMMU group, for a device opened through its group.</summary>
    [FieldOffset(0)]
    public uint group_id;

    /// <summary>Out: iommufd device id, or VFIO_PCI_DEVID_OWNED or VFIO_PCI_DEVID_NOT_OWNED, for a device opened as cdev.</summary>
    [FieldOffset(0)]
    public uint devid;

    /// <summary>Out: PCI segment (domain).</summary>
    [FieldOffset(4)]
    public ushort segment;

    /// <summary>Out: PCI bus.</summary>
    [FieldOffset(6)]
    public byte bus;

    /// <summary>Out: PCI device (bits 7:3) and function (bits 2:0).</summary>
    [FieldOffset(7)]
    public byte devfn;
}

/// <summary>
/// Argument of VFIO_DEVICE_GET_PCI_HOT_RESET_INFO. An array of vfio_pci_dependent_device follows; ENOSPC when argsz is too small for it.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
public struct vfio_pci_hot_reset_info
{
    /// <summary>Offset in bytes of devices[] from this struct.</summary>
    public const int devices_offset = 12;

    /// <summary>In: size of the buffer in bytes.</summary>
    public uint argsz;

    /// <summary>Out: VFIO_PCI_HOT_RESET_FLAG_*.</summary>
    public uint flags;

    /// <summary>Out: number of devices.</summary>
    public uint count;
}

/// <summary>Argument of VFIO_DEVICE_PCI_HOT_RESET. An array of 32-bit group descriptors follows; for a cdev it must be empty.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct vfio_pci_hot_reset
{
    /// <summary>Offset in bytes of group_fds[] from this struct.</summary>
    public const int group_fds_offset = 12;

    /// <summary>In: size in bytes of this struct and the array.</summary>
    public uint argsz;

    /// <summary>In: must be 0.</summary>
    public uint flags;

    /// <summary>In: number of descriptors.</summary>
    public uint count;
}
