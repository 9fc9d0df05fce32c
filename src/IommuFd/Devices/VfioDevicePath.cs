using IommuFd.Native;
using IommuFd.Sysfs;

namespace IommuFd;

/// <summary>From a PCI address to its VFIO character device, with the reason where there is none.</summary>
internal static class VfioDevicePath
{
    internal static string Find(IommuHost host, PciAddress address)
    {
        string operation = $"open VFIO device of {address}";
        string directory = PciBus.DevicePath(address);
        PciFunction? function = new PciBus(host.Sysfs).Find(address);
        if (function is null)
        {
            throw Failure.Because(
                operation, Errno.ENODEV, FailureCause.NoSuchNode, $"there is no PCI function {address}", "Run 'vfio list' to see the functions there are.",
                new Evidence(directory, "absent"));
        }

        if (function.DeviceNode is { } node)
        {
            return node;
        }

        Evidence driver = new($"{directory}/driver", function.Driver ?? "none");
        if (function.VfioDevice is { } name)
        {
            throw Failure.Because(
                operation, Errno.ENODEV, FailureCause.NoCharacterDevice, "the VFIO driver gives it no character device",
                "Use a kernel with CONFIG_VFIO_DEVICE_CDEV.", driver, new Evidence($"{directory}/vfio-dev/{name}/dev", "absent"));
        }

        throw Failure.Because(
            operation, Errno.ENODEV, FailureCause.NotBoundToVfio,
            function.Driver is null ? "it is bound to no driver" : $"it is bound to {function.Driver}, not to a VFIO driver",
            $"Run 'vfio bind {address}'.", driver);
    }
}
