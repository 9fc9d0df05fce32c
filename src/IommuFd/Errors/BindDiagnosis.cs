using IommuFd.Native;
using IommuFd.Sysfs;

namespace IommuFd;

/// <summary>VFIO_DEVICE_BIND_IOMMUFD answers EPERM for two reasons with different cures; sysfs tells them apart.</summary>
internal static class BindDiagnosis
{
    private const string Operation = "VFIO_DEVICE_BIND_IOMMUFD";

    internal static IommuFdException Explain(VfioDeviceFile file, int result, bool alreadyBound)
    {
        Evidence device = new("device", file.Address?.ToString() ?? file.Path);
        if (result == -Errno.EINVAL && alreadyBound)
        {
            return Failure.Because(Operation, result, FailureCause.CannotBind, "the device is bound already",
                "Dispose the bound device and open it again.", device);
        }

        if (file.Address is { } address && new PciBus(file.Host.Sysfs).Find(address) is { Group: { } groupId } && result is -Errno.EPERM
            && new PciBus(file.Host.Sysfs).Group(groupId) is { } group)
        {
            List<Evidence> blocking = [.. group.Blocking.Select(static member => new Evidence($"{member.Path}/driver", member.Driver ?? "none"))];
            if (blocking.Count > 0)
            {
                return Failure.Because(
                    Operation, result, FailureCause.GroupNotViable,
                    $"IOMMU group {groupId} is not viable: a member is bound to a driver that does DMA for the host",
                    $"Run 'vfio bind {string.Join(' ', group.Blocking.Select(static member => member.Address))}'.", [device, .. blocking]);
            }

            string allow = file.Host.Sysfs.Attribute("/sys/module/iommufd/parameters/allow_unsafe_interrupts") ?? "absent";
            if (group.Members.Any(member => member.Address != address && member.VfioDevice is not null))
            {
                return Failure.Because(
                    Operation, result, FailureCause.GroupNotViable,
                    $"IOMMU group {groupId} has another owner, or the platform does not isolate the device's interrupts",
                    "Bind all members of the group to one context; or turn on interrupt remapping in firmware.",
                    [device, new Evidence("/sys/module/iommufd/parameters/allow_unsafe_interrupts", allow)]);
            }

            return Failure.Of(Operation, result, device, new Evidence("/sys/module/iommufd/parameters/allow_unsafe_interrupts", allow));
        }

        return Failure.Of(Operation, result, device);
    }
}
