using System.Collections.Frozen;
using static IommuFd.Native.Errno;

namespace IommuFd;

/// <summary>
/// What an error number means for each operation (Linux 7.3, drivers/iommu/iommufd and drivers/vfio). The one place where the library says why. Where
/// one number has several causes, the caller looks at the machine first and passes the cause it found.
/// </summary>
internal static class ErrorCauses
{
    private static readonly ErrorCause s_memlock = new(
        FailureCause.LockedMemoryLimit,
        "the locked-memory limit (RLIMIT_MEMLOCK) is reached, or there is no memory",
        "Raise the limit with 'ulimit -l' or limits.conf; by default iommufd counts what all processes of the user have pinned.");

    private static readonly ErrorCause s_notAligned = new(
        FailureCause.IovaNotPermitted,
        "the address or length is not aligned, or the IOVA lies outside the permitted ranges",
        "Align to the address space's alignment and choose an IOVA inside its permitted ranges, or let the kernel choose one.");

    private static readonly ErrorCause s_taken = new(
        FailureCause.IovaTaken, "something is mapped in this range already", "Unmap it first: a mapping is never replaced.");

    private static readonly ErrorCause s_noRoom = new(
        FailureCause.NoIovaSpace, "there is no free IOVA range of this size", "Unmap something, or map smaller pieces.");

    private static readonly ErrorCause s_noSuchObject = new(FailureCause.NoSuchObject, "there is no such object, or it is of another type", "");

    private static readonly ErrorCause s_objectInUse = new(
        FailureCause.ObjectInUse, "the object is still in use", "Destroy what was made from it and detach the devices that use it first.");

    private static readonly ErrorCause s_incompatible = new(
        FailureCause.IncompatibleTable,
        "the device's IOMMU cannot use this table, or another device of its group is on a different one",
        "Attach all devices of a group to one table, and make the table for a device of that IOMMU.");

    private static readonly ErrorCause s_reservedMeets = new(
        FailureCause.ReservedRangeConflict,
        "a range that the device reserves meets an existing mapping or an allowed range",
        "Attach the device before mapping, and map inside the permitted ranges that the address space then shows.");

    private static readonly ErrorCause s_gone = new(FailureCause.DeviceGone, "the device is gone",
        "Close it; it has been unplugged or unbound from its driver.");

    private static readonly FrozenDictionary<(string Operation, int Errno), ErrorCause> s_rows = new Dictionary<(string, int), ErrorCause>
    {
        [("open /dev/iommu", ENOENT)] = new(
            FailureCause.NoSuchNode, "this machine has no /dev/iommu",
            "Use a kernel with CONFIG_IOMMUFD (modprobe iommufd), or the simulator (--host sim)."),
        [("open /dev/iommu", ENODEV)] = new(
            FailureCause.NoSuchNode, "the iommufd module is not loaded", "Run 'modprobe iommufd'."),
        [("open /dev/iommu", EACCES)] = new(
            FailureCause.NoPermission, "this user may not open /dev/iommu", "Run as root, or give the user access with a udev rule."),
        [("open device", ENOENT)] = new(
            FailureCause.NoSuchNode, "the VFIO character device does not exist",
            "Use a kernel with CONFIG_VFIO_DEVICE_CDEV, and bind the device to vfio-pci."),
        [("open device", EACCES)] = new(
            FailureCause.NoPermission, "this user may not open the device", "Run as root, or give the user the node with chown or a udev rule."),
        [("open device", EPERM)] = new(
            FailureCause.NoPermission, "a device without an IOMMU needs CAP_SYS_RAWIO", "Run as root."),
        [("open device", EBUSY)] = new(
            FailureCause.DeviceBusy, "the device's group is open through /dev/vfio/N", "Close the program that uses the group interface."),
        [("open device", ENODEV)] = s_gone,
        [("open group", EBUSY)] = new(
            FailureCause.DeviceBusy, "the group is open already, or a character device of it is", "Close the program that holds it."),
        [("open group", EPERM)] = new(FailureCause.NoPermission, "a no-IOMMU group needs CAP_SYS_RAWIO", "Run as root."),
        [("open group", ENODEV)] = s_gone,
        [("open group", EACCES)] = new(FailureCause.NoPermission, "this user may not open the group", "Run as root, or give the user the node."),

        [("VFIO_DEVICE_BIND_IOMMUFD", EPERM)] = new(
            FailureCause.InterruptsNotIsolated,
            "the platform does not isolate the device's interrupts",
            "Turn on interrupt remapping in firmware; or, knowing the risk, load iommufd with allow_unsafe_interrupts=1."),
        [("VFIO_DEVICE_BIND_IOMMUFD", EBUSY)] = new(
            FailureCause.GroupDomainInUse, "the group is open through /dev/vfio/N, or its domain is not the default one",
            "Close the other user of the group."),
        [("VFIO_DEVICE_BIND_IOMMUFD", EINVAL)] = new(
            FailureCause.CannotBind,
            "the device is bound already, or its IOMMU does not enforce cache coherency, or a token was given for a device without SR-IOV",
            ""),
        [("VFIO_DEVICE_BIND_IOMMUFD", EACCES)] = new(
            FailureCause.WrongVfToken, "the VF token is missing or wrong", "Pass the token that the owner of the physical function set."),
        [("VFIO_DEVICE_BIND_IOMMUFD", ENODEV)] = s_gone,
        [("VFIO_DEVICE_BIND_IOMMUFD", ENOTTY)] = new(
            FailureCause.CommandUnknown, "the device's driver has no iommufd support", "Use a kernel with CONFIG_VFIO_DEVICE_CDEV."),
        [("bind cookie", EBUSY)] = new(
            FailureCause.DuplicateCookie, "a device bound to this context carries the cookie already", "Give each device its own cookie."),

        [("VFIO_DEVICE_ATTACH_IOMMUFD_PT", EINVAL)] = s_incompatible,
        [("VFIO_DEVICE_ATTACH_IOMMUFD_PT", EADDRINUSE)] = s_reservedMeets,
        [("VFIO_DEVICE_ATTACH_IOMMUFD_PT", ENOENT)] = s_noSuchObject,
        [("VFIO_DEVICE_ATTACH_IOMMUFD_PT", ENOMEM)] = s_memlock,
        [("VFIO_DEVICE_ATTACH_IOMMUFD_PT", EOPNOTSUPP)] = new(
            FailureCause.NotSupported, "the device or its driver does not support this way of attaching", "Attach without a PASID."),
        [("VFIO_DEVICE_ATTACH_IOMMUFD_PT", EBUSY)] = new(
            FailureCause.ObjectInUse, "the PASID or the device's own table is in use", "Detach it first."),

        [("IOMMU_DESTROY", EBUSY)] = s_objectInUse,
        [("IOMMU_DESTROY", ENOENT)] = s_noSuchObject,

        [("IOMMU_IOAS_MAP", EINVAL)] = s_notAligned,
        [("IOMMU_IOAS_MAP", EEXIST)] = s_taken,
        [("IOMMU_IOAS_MAP", EADDRINUSE)] = s_taken,
        [("IOMMU_IOAS_MAP", EOVERFLOW)] = new(FailureCause.IovaWraps, "the range runs past the end of the address space", ""),
        [("IOMMU_IOAS_MAP", ENOSPC)] = s_noRoom,
        [("IOMMU_IOAS_MAP", EFAULT)] = new(
            FailureCause.MemoryNotPinnable,
            "the memory is not there or cannot be pinned (a mapped BAR cannot)",
            "Map memory that is present; give a BAR as a dma-buf."),
        [("IOMMU_IOAS_MAP", EPERM)] = new(FailureCause.ReadOnlyMemory, "devices were to write memory that is read-only", "Map it for reading only."),
        [("IOMMU_IOAS_MAP", ENOMEM)] = s_memlock,
        [("IOMMU_IOAS_MAP", ENOENT)] = s_noSuchObject,
        [("IOMMU_IOAS_MAP_FILE", EINVAL)] = s_notAligned,
        [("IOMMU_IOAS_MAP_FILE", EEXIST)] = s_taken,
        [("IOMMU_IOAS_MAP_FILE", ENOSPC)] = s_noRoom,
        [("IOMMU_IOAS_MAP_FILE", ENOMEM)] = s_memlock,
        [("IOMMU_IOAS_MAP_FILE", EBADF)] = new(FailureCause.NoSuchObject, "the descriptor is closed or is neither a memfd nor a dma-buf", ""),
        [("IOMMU_IOAS_MAP_FILE", EFAULT)] = new(FailureCause.MemoryNotPinnable,
            "the file does not reach that far, or its pages cannot be pinned", ""),
        [("IOMMU_IOAS_COPY", EEXIST)] = s_taken,
        [("IOMMU_IOAS_COPY", ENOSPC)] = s_noRoom,
        [("IOMMU_IOAS_COPY", EPERM)] = new(FailureCause.ReadOnlyMemory, "write access was asked for a mapping that was made read-only",
            "Copy it for reading only."),
        [("IOMMU_IOAS_COPY", ENOENT)] = new(FailureCause.NotMapped, "the source range is not mapped as a whole", ""),
        [("IOMMU_IOAS_COPY", EINVAL)] = s_notAligned,
        [("IOMMU_IOAS_COPY", ENOMEM)] = s_memlock,

        [("IOMMU_IOAS_UNMAP", ENOENT)] = new(
            FailureCause.NotMapped, "nothing is mapped there, or the range cuts a mapping", "Unmap whole mappings: they cannot be split."),
        [("IOMMU_IOAS_UNMAP", EBUSY)] = new(FailureCause.MappingBusy,
            "the mapping is held by an access or a hardware queue, or is being changed", ""),
        [("IOMMU_IOAS_UNMAP", EDEADLK)] = new(FailureCause.MappingBusy, "new mappings kept appearing while everything was being unmapped", ""),
        [("IOMMU_IOAS_ALLOW_IOVAS", EADDRINUSE)] = s_reservedMeets,
        [("IOMMU_IOAS_ALLOW_IOVAS", EINVAL)] = new(FailureCause.IovaNotPermitted, "a range is empty, unaligned or overlaps another", ""),
        [("IOMMU_OPTION", EPERM)] = new(FailureCause.NoPermission, "the locked-memory mode needs CAP_SYS_RESOURCE", "Run as root."),
        [("IOMMU_OPTION", EBUSY)] = new(FailureCause.TooLate, "the locked-memory mode can only be set before the first object exists",
            "Set it right after opening."),

        [("IOMMU_HWPT_ALLOC", EINVAL)] = s_incompatible,
        [("IOMMU_HWPT_ALLOC", EOPNOTSUPP)] = new(FailureCause.NotSupported, "the device's IOMMU cannot make such a table", ""),
        [("IOMMU_HWPT_SET_DIRTY_TRACKING", EINVAL)] = new(
            FailureCause.IncompatibleTable, "the table was not made for dirty tracking", "Allocate it with DIRTY_TRACKING."),
        [("IOMMU_VIOMMU_ALLOC", EOPNOTSUPP)] = new(FailureCause.NotSupported, "the device's IOMMU has no virtual IOMMU of this type", ""),
        [("VFIO_DEVICE_SET_IRQS", EINVAL)] = new(
            FailureCause.OutOfRange, "the device has fewer interrupts of this kind, or another kind is enabled",
            "Ask for no more than the device has; disable the other kind."),
        [("VFIO_DEVICE_SET_IRQS", ENOSPC)] = new(
            FailureCause.OutOfRange,
            "the platform has too few interrupt vectors left, or its messages go through the IOMMU (Arm) and the device is not attached",
            "Attach the device before its interrupts are turned on; ask for fewer."),
        [("VFIO_DEVICE_RESET", EINVAL)] = new(FailureCause.NotSupported, "the device has no reset of its own", "Use a hot reset of its bus."),
        [("VFIO_DEVICE_PCI_HOT_RESET", EINVAL)] = new(
            FailureCause.ObjectInUse, "the reset would hit devices that this program does not hold",
            "Bind all the devices that the reset hits to the same context."),
        [("VFIO_DEVICE_GET_PCI_HOT_RESET_INFO", ENODEV)] = new(FailureCause.NotSupported, "neither the device's slot nor its bus can be reset", ""),
        [("VFIO_DEVICE_FEATURE", ENOTTY)] = new(FailureCause.NotSupported, "the device does not have this feature", ""),
        [("VFIO_DEVICE_FEATURE", EINVAL)] = new(FailureCause.NotSupported, "the feature cannot be used this way, or not in this state", ""),
        [("VFIO_GROUP_GET_DEVICE_FD", ENODEV)] = new(FailureCause.NoSuchObject, "the group has no such device on a VFIO driver", "Run 'vfio bind'."),
        [("VFIO_GROUP_GET_DEVICE_FD", EPERM)] = new(FailureCause.GroupNotViable, "the group is not viable, or a no-IOMMU device needs CAP_SYS_RAWIO",
            "Bind every member to vfio-pci."),
        [("VFIO_GROUP_SET_CONTAINER", EPERM)] = new(
            FailureCause.GroupNotViable, "a member of the group is bound to a driver that does DMA for the host",
            "Bind every member of the group to vfio-pci."),
        [("VFIO_SET_IOMMU", ENODEV)] = new(FailureCause.NotSupported, "the kernel has no such IOMMU interface", "Load vfio_iommu_type1."),
        [("VFIO_IOMMU_MAP_DMA", EEXIST)] = s_taken,
        [("VFIO_IOMMU_MAP_DMA", ENOMEM)] = new(
            FailureCause.LockedMemoryLimit, "the locked-memory limit (RLIMIT_MEMLOCK) is reached",
            "Raise it with 'ulimit -l'; each container counts on its own."),
        [("VFIO_IOMMU_MAP_DMA", ENOSPC)] = new(
            FailureCause.NoIovaSpace, "the container has no mappings left (dma_entry_limit, 65535 by default)",
            "Map larger pieces, raise vfio_iommu_type1.dma_entry_limit, or use iommufd."),
        [("VFIO_IOMMU_MAP_DMA", EINVAL)] = s_notAligned,
        [("VFIO_IOMMU_MAP_DMA", EFAULT)] = new(FailureCause.MemoryNotPinnable, "the memory is not there or cannot be pinned", ""),
        [("open /dev/vfio/vfio", ENOENT)] = new(FailureCause.NoSuchNode, "this machine has no /dev/vfio/vfio",
            "Load the vfio module, or use iommufd."),
        [("open /dev/vfio/vfio", EACCES)] = new(FailureCause.NoPermission, "this user may not open /dev/vfio/vfio",
            "Run as root, or give the user the node."),
        [("attach container", EINVAL)] = new(
            FailureCause.GroupTableDiffers, "another device of the group is attached to a different address space",
            "Attach all devices of a group to one address space."),
        [("attach container", EADDRINUSE)] = s_reservedMeets,
        [("attach container", ENOMEM)] = s_memlock,
        [("attach container", EOPNOTSUPP)] = new(
            FailureCause.NotSupported, "no IOMMU stands before the device: memory cannot be mapped for it",
            "Attach an empty address space, and give the device physical addresses."),
        [("read page requests", EINVAL)] = new(FailureCause.OutOfRange, "the buffer is not a whole number of records", ""),
        [("write page responses", EINVAL)] = new(FailureCause.NoSuchObject, "the response names no waiting group or has an unknown code", ""),
    }.ToFrozenDictionary();

    /// <summary>The row of an operation and number; else what the number means for every command; else the C library's sentence.</summary>
    internal static ErrorCause Find(string operation, int errno)
    {
        if (s_rows.TryGetValue((operation, errno), out ErrorCause? row))
        {
            return row;
        }

        return errno switch
        {
            ENOTTY when operation.StartsWith("VFIO_", StringComparison.Ordinal) || operation.StartsWith("IOMMU_", StringComparison.Ordinal) =>
                new(FailureCause.CommandUnknown, "this kernel or driver does not have the command",
                    "Use a newer kernel; see the command's first kernel in docs/uapi.md."),
            E2BIG => new(FailureCause.UnknownField, "this kernel does not know a field that was set", "Use a newer kernel."),
            EOPNOTSUPP => new(FailureCause.NotSupported, "this value or feature is not supported here", ""),
            ENODEV => s_gone,
            EROFS => new(FailureCause.ReadOnlyHost, "this host is a capture: it shows files, nothing can be opened or changed",
                "Use --host kernel or --host sim."),
            _ => new(FailureCause.Other,
                Native.Errno.Describe(errno) is { Length: > 0 } text ? char.ToLowerInvariant(text[0]) + text[1..] : "failed", ""),
        };
    }
}
