using IommuFd.Sysfs;

namespace IommuFd;

/// <summary>A function that a hot reset hits.</summary>
/// <param name="Address">Where it is.</param>
/// <param name="DeviceId">Its id in the asking device's context; null when it is not bound to it.</param>
/// <param name="Group">Its IOMMU group, where the device was opened through a group; null where through a character device.</param>
/// <param name="IsOwned">Whether the caller owns it: by binding, or because its group belongs to the caller's context and it has no other
/// user.</param>
public readonly record struct DependentDevice(PciAddress Address, uint? DeviceId, uint? Group, bool IsOwned);

/// <summary>VFIO_DEVICE_GET_PCI_HOT_RESET_INFO: whom a reset of the device's bus or slot hits.</summary>
/// <param name="Devices">All functions that it hits, the asking one among them.</param>
/// <param name="IsOwned">Whether the caller owns them all, so that the reset is allowed.</param>
public sealed record HotResetInfo(IReadOnlyList<DependentDevice> Devices, bool IsOwned);
