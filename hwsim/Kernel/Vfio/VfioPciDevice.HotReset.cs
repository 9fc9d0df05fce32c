using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>Resets of a whole bus: who is affected, and whether the caller owns all of them.</summary>
internal sealed unsafe partial class VfioPciDevice
{
    // Functions that a reset of the bus or slot reaches: all below the bridge above, in the order of their addresses, virtual ones included.
    private PciFunction[] Affected() => Function.Bridge is null ? [] : _tree.BelowBridge(Function.Bridge);

    private int GetHotResetInfo(ulong argument, IUserMemory user)
    {
        vfio_pci_hot_reset_info head;
        uint size = vfio_pci_hot_reset_info.devices_offset;
        if (user.CopyFrom(argument, &head, size) < 0)
        {
            return -Errno.EFAULT;
        }

        if (head.argsz < size)
        {
            return -Errno.EINVAL;
        }

        if (!Function.CanResetBus)
        {
            return -Errno.ENODEV;
        }

        head.flags = 0;
        PciFunction[] affected = Affected();
        if (affected.Length > (head.argsz - size) / sizeof(vfio_pci_dependent_device))
        {
            head.count = (uint)affected.Length;
            return user.CopyTo(argument, &head, size) < 0 ? -Errno.EFAULT : -Errno.ENOSPC;
        }

        var devices = new vfio_pci_dependent_device[affected.Length];
        if (CdevOpened)
        {
            head.flags = Vfio.VFIO_PCI_HOT_RESET_FLAG_DEV_ID | Vfio.VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED;
        }

        lock (Set.Lock)
        {
            for (int i = 0; i < affected.Length; i++)
            {
                PciFunction f = affected[i];
                devices[i].segment = f.Address.Segment;
                devices[i].bus = f.Address.Bus;
                devices[i].devfn = f.Address.DeviceFunction;
                if (!CdevOpened)
                {
                    if (f.Iommu.Group is null)
                    {
                        return -Errno.EPERM;
                    }

                    devices[i].group_id = (uint)f.Iommu.Group.Id;
                    continue;
                }

                devices[i].devid = DeviceId(f);
                if (devices[i].devid == Vfio.VFIO_PCI_DEVID_NOT_OWNED)
                {
                    head.flags &= ~Vfio.VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED;
                }
            }
        }

        fixed (vfio_pci_dependent_device* first = devices)
        {
            // SAFETY: the array is pinned and as long as stated; the user's buffer holds it, argsz says so.
            if (user.CopyTo(argument + size, first, (nuint)(sizeof(vfio_pci_dependent_device) * devices.Length)) < 0)
            {
                return -Errno.EFAULT;
            }
        }

        head.count = (uint)devices.Length;
        return user.CopyTo(argument, &head, size) < 0 ? -Errno.EFAULT : 0;
    }

    // The id in our iommufd; owned without an id when a group mate is bound there; not owned otherwise.
    private uint DeviceId(PciFunction f)
    {
        VfioDevice? other = Set.Devices.Find(d => d is VfioPciDevice pci && pci.Function == f);
        if (other is null)
        {
            return Vfio.VFIO_PCI_DEVID_NOT_OWNED;
        }

        IommufdContext? iommufd = IommufdDevice?.Context;
        int id = OwnedId(other, iommufd);
        return id > 0 ? (uint)id : id == -Errno.ENOENT ? Vfio.VFIO_PCI_DEVID_OWNED : Vfio.VFIO_PCI_DEVID_NOT_OWNED;
    }

    // vfio_iommufd_get_dev_id.
    private static int OwnedId(VfioDevice device, IommufdContext? iommufd)
    {
        if (device.IommufdDevice?.Context == iommufd)
        {
            return device.IommufdDevice is { } bound ? (int)bound.Id : -Errno.EINVAL;
        }

        return device.Iommu.Group is { } group && iommufd is not null && iommufd.HasGroup(group) ? -Errno.ENOENT : -Errno.ENODEV;
    }

    private int HotReset(ulong argument, IUserMemory user)
    {
        vfio_pci_hot_reset head;
        uint size = vfio_pci_hot_reset.group_fds_offset;
        if (user.CopyFrom(argument, &head, size) < 0)
        {
            return -Errno.EFAULT;
        }

        // A list of groups is for those who came through a group, and only for them.
        if (head.argsz < size || head.flags != 0 || (head.count != 0) == CdevOpened)
        {
            return -Errno.EINVAL;
        }

        if (!Function.CanResetBus)
        {
            return -Errno.ENODEV;
        }

        if (head.count == 0)
        {
            IommufdContext? iommufd = IommufdDevice?.Context;
            return ResetSet(device => OwnedId(device, iommufd) is > 0 or -Errno.ENOENT);
        }

        if (head.count > Affected().Length)
        {
            return -Errno.EINVAL;
        }

        int[] descriptors = new int[head.count];
        fixed (int* first = descriptors)
        {
            // SAFETY: the array is pinned and as long as stated.
            if (user.CopyFrom(argument + size, first, head.count * sizeof(int)) < 0)
            {
                return -Errno.EFAULT;
            }
        }

        return ResetWithGroups(descriptors);
    }

    private int ResetWithGroups(int[] descriptors)
    {
        var files = new List<SimulatedFile>();
        try
        {
            foreach (int descriptor in descriptors)
            {
                if (Core.Process.GetFile(descriptor) is not { } file)
                {
                    return Core.IsOpen(descriptor) ? -Errno.EINVAL : -Errno.EBADF;
                }

                files.Add(file);
                if (file is not VfioGroupFile)
                {
                    return -Errno.EINVAL;
                }
            }

            return ResetSet(device => files.Exists(file => ((VfioGroupFile)file).Group == device.Group));
        }
        finally
        {
            files.ForEach(static file => file.Put());
        }
    }

    // vfio_pci_dev_set_hot_reset: every function on the bus must be vfio-pci's, and every device of the set the caller's.
    private int ResetSet(Func<VfioDevice, bool> isOwned)
    {
        lock (Set.Lock)
        {
            PciFunction[] affected = Affected();
            if (!Array.TrueForAll(affected, f => Set.Devices.Exists(d => d is VfioPciDevice pci && pci.Function == f))
                || !Set.Devices.TrueForAll(d => isOwned(d)))
            {
                return -Errno.EINVAL;
            }

            foreach (VfioDevice device in Set.Devices)
            {
                ((VfioPciDevice)device)._memoryLock.Enter();
                ((VfioPciDevice)device).MoveDmaBufs(revoked: true);
            }

            PciTree.ResetBus(affected);
            foreach (VfioDevice device in Set.Devices)
            {
                var pci = (VfioPciDevice)device;
                pci.MoveDmaBufs(revoked: !pci.MemoryEnabled);
                pci._memoryLock.Exit();
            }

            return 0;
        }
    }

    // vfio_pci_dev_set_try_reset: when nobody of the set is open and one is dirty, a bus reset makes all clean.
    private void TryResetSet()
    {
        PciFunction[] affected = Affected();
        if (affected.Length == 0 || Set.Devices.Sum(static d => d.OpenCount) > 1 || !Set.Devices.Exists(static d => ((VfioPciDevice)d)._needsReset)
            || !Array.TrueForAll(affected, f => Set.Devices.Exists(d => d is VfioPciDevice pci && pci.Function == f)))
        {
            return;
        }

        PciTree.ResetBus(affected);
        foreach (VfioDevice device in Set.Devices)
        {
            ((VfioPciDevice)device)._needsReset = false;
        }
    }
}
