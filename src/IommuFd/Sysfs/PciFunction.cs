using IommuFd.Native;

namespace IommuFd.Sysfs;

/// <summary>What sysfs says about one PCI function at the moment it was read.</summary>
public sealed record PciFunction
{
    /// <summary>Where it sits.</summary>
    public required PciAddress Address { get; init; }

    /// <summary>Vendor id.</summary>
    public required ushort Vendor { get; init; }

    /// <summary>Device id.</summary>
    public required ushort Device { get; init; }

    /// <summary>The 24-bit class code: base class, subclass, programming interface.</summary>
    public required uint Class { get; init; }

    /// <summary>The bound driver, or null.</summary>
    public string? Driver { get; init; }

    /// <summary>The IOMMU group, or null when no IOMMU stands in front of the function.</summary>
    public int? Group { get; init; }

    /// <summary>The name under <c>vfio-dev</c> (<c>vfio0</c>, <c>noiommu-vfio0</c>) while a VFIO driver is bound, else null.</summary>
    public string? VfioDevice { get; init; }

    /// <summary>
    /// Whether <see cref="VfioDevice"/> has a character device. It has none on a kernel built without CONFIG_VFIO_DEVICE_CDEV, though the sysfs
    /// directory exists.
    /// </summary>
    public bool HasDeviceNode { get; init; }

    /// <summary>The NUMA node, or -1 when the platform does not say.</summary>
    public int NumaNode { get; init; } = -1;

    /// <summary>The module alias, by which drivers (VFIO variant drivers included) are found.</summary>
    public string? ModuleAlias { get; init; }

    /// <summary>The function's directory in sysfs.</summary>
    public string Path => PciBus.DevicePath(Address);

    /// <summary><c>/dev/vfio/devices/vfioN</c>, or null when there is no such node.</summary>
    public string? DeviceNode => HasDeviceNode ? "/dev/vfio/devices/" + VfioDevice : null;

    /// <summary>Whether this is a PCI, CardBus or semi-transparent bridge by class: VFIO refuses header types other than 0.</summary>
    public bool IsBridge => Class >> 8 is 0x0604 or 0x0607 or 0x0609;
}
