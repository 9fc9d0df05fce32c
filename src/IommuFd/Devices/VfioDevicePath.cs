using IommuFd.Native;
using IommuFd.Sysfs;

namespace IommuFd;

/// <summary>Where a VFIO device can be opened.</summary>
/// <param name="Node">Its character device, or null on a kernel without them.</param>
/// <param name="Group">Its IOMMU group, or null when it is in none.</param>
/// <param name="IsNoIommu">Whether no IOMMU stands before it.</param>
internal readonly record struct VfioLocation(string? Node, int? Group, bool IsNoIommu);

/// <summary>From a PCI address to where it can be opened, with the reason where it cannot.</summary>
internal static class VfioDevicePath
{
    internal static VfioLocation Find(IommuHost host, PciAddress address)
    {
        string operation = $"open VFIO device of {address}";
        string directory = PciBus.DevicePath(address);
        PciBus bus = new(host.Sysfs);

        // What is open to VFIO needs the smaller part of what is known of a function.
        if (bus.VfioDevice(address) is { } usual && host.Sysfs.Exists($"{directory}/vfio-dev/{usual}/dev"))
        {
            return new VfioLocation("/dev/vfio/devices/" + usual, bus.GroupOf(address), IsNoIommu(usual));
        }

        PciFunction? function = bus.Find(address);
        if (function is null)
        {
            throw Failure.Because(
                operation, Errno.ENODEV, FailureCause.NoSuchNode, $"there is no PCI function {address}",
                "Run 'vfio list' to see the functions there are.",
                new Evidence(directory, "absent"));
        }

        bool noIommu = IsNoIommu(function.VfioDevice);
        if (function.DeviceNode is not null
            || (function.Group is not null && (function.VfioDevice is not null || DriverClaim.IsVfio(function.Driver))))
        {
            return new VfioLocation(function.DeviceNode, function.Group, noIommu);
        }

        Evidence driver = new($"{directory}/driver", function.Driver ?? "none");
        if (function.VfioDevice is { } name)
        {
            throw NoCharacterDevice(operation, driver, new Evidence($"{directory}/vfio-dev/{name}/dev", "absent"));
        }

        throw Failure.Because(
            operation, Errno.ENODEV, FailureCause.NotBoundToVfio,
            function.Driver is null ? "it is bound to no driver" : $"it is bound to {function.Driver}, not to a VFIO driver",
            $"Run 'vfio bind {address}'.", driver);
    }

    private static bool IsNoIommu(string? name) => name?.StartsWith("noiommu-", StringComparison.Ordinal) ?? false;

    internal static IommuFdException NoCharacterDevice(string operation, params ReadOnlySpan<Evidence> evidence) => Failure.Because(
        operation, Errno.ENODEV, FailureCause.NoCharacterDevice, "the VFIO driver gives it no character device, which iommufd needs",
        "Use a kernel with CONFIG_VFIO_DEVICE_CDEV, or open the context with ContextKind.Container.", evidence);
}
