using System.Text;
using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>What a VFIO group stands on (enum vfio_group_type).</summary>
internal enum VfioGroupType
{
    /// <summary>An IOMMU group.</summary>
    Iommu,

    /// <summary>A group made for a device whose driver mediates all DMA.</summary>
    EmulatedIommu,

    /// <summary>A group made for a device without an IOMMU.</summary>
    NoIommu,
}

/// <summary>The VFIO side of an IOMMU group: /dev/vfio/N (struct vfio_group, drivers/vfio/group.c).</summary>
internal sealed class VfioGroup(VfioCore core, IommuGroup iommuGroup, VfioGroupType type)
{
    private int _cdevOpenCount;

    /// <summary>VFIO.</summary>
    public VfioCore Core { get; } = core;

    /// <summary>The IOMMU group; null once the last device is gone.</summary>
    public IommuGroup? IommuGroup { get; set; } = iommuGroup;

    /// <summary>What it stands on.</summary>
    public VfioGroupType Type { get; } = type;

    /// <summary>group_lock.</summary>
    public Lock Lock { get; } = new();

    /// <summary>Devices that are registered.</summary>
    public List<VfioDevice> Devices { get; } = [];

    /// <summary>Drivers that hold the group; at 0 it goes.</summary>
    public int Drivers { get; set; } = 1;

    /// <summary>Its minor number.</summary>
    public uint Minor { get; init; }

    /// <summary>The one open file.</summary>
    public VfioGroupFile? OpenedFile { get; set; }

    /// <summary>The container it is in.</summary>
    public VfioContainer? Container { get; set; }

    /// <summary>Users of the container: the membership itself and every open device.</summary>
    public int ContainerUsers { get; set; }

    /// <summary>The iommufd that serves as container.</summary>
    public IommufdContext? Iommufd { get; set; }

    /// <summary>True when it has a container of either kind.</summary>
    public bool HasIommu => Container is not null || Iommufd is not null;

    /// <summary>vfio_device_block_group: a cdev is about to be bound.</summary>
    public int BlockByCdev()
    {
        lock (Lock)
        {
            if (OpenedFile is not null)
            {
                return -Errno.EBUSY;
            }

            _cdevOpenCount++;
            return 0;
        }
    }

    /// <summary>vfio_device_unblock_group.</summary>
    public void UnblockByCdev()
    {
        lock (Lock)
        {
            _cdevOpenCount--;
        }
    }

    /// <summary>open(2) of /dev/vfio/N.</summary>
    public int Open(out SimulatedFile? file)
    {
        file = null;
        lock (Lock)
        {
            if (Drivers == 0)
            {
                return -Errno.ENODEV;
            }

            if (Type == VfioGroupType.NoIommu && !Core.Process.Capable(Capabilities.SysRawIO))
            {
                return -Errno.EPERM;
            }

            if (_cdevOpenCount != 0 || OpenedFile is not null)
            {
                return -Errno.EBUSY;
            }

            OpenedFile = new VfioGroupFile(this);
            file = OpenedFile;
            return 0;
        }
    }

    /// <summary>vfio_device_group_use_iommu: a device is opened under the container.</summary>
    public int UseContainer() => Container?.Use(this) ?? -Errno.EINVAL;

    /// <summary>vfio_device_group_unuse_iommu.</summary>
    public void UnuseContainer() => ContainerUsers--;
}

/// <summary>An open /dev/vfio/N.</summary>
internal sealed unsafe class VfioGroupFile(VfioGroup group) : SimulatedFile
{
    /// <summary>The group.</summary>
    public VfioGroup Group { get; } = group;

    /// <inheritdoc/>
    public override int Ioctl(uint request, ulong argument, IUserMemory user) => request switch
    {
        Vfio.VFIO_GROUP_GET_DEVICE_FD => GetDevice(argument, user),
        Vfio.VFIO_GROUP_GET_STATUS => GetStatus(argument, user),
        Vfio.VFIO_GROUP_SET_CONTAINER => SetContainer(argument, user),
        Vfio.VFIO_GROUP_UNSET_CONTAINER => UnsetContainer(),
        _ => -Errno.ENOTTY,
    };

    /// <inheritdoc/>
    protected override void Release()
    {
        lock (Group.Lock)
        {
            Group.Container?.Detach(Group);
            Group.Iommufd?.Put();
            Group.Iommufd = null;
            Group.OpenedFile = null;
        }
    }

    private int GetDevice(ulong argument, IUserMemory user)
    {
        int error = CopyName(argument, user, out string name);
        if (error < 0)
        {
            return error;
        }

        error = FindDevice(name, out VfioDevice? device);
        if (error < 0)
        {
            return error;
        }

        Get();
        var file = new VfioDeviceFile(device!, this);
        error = file.OpenFromGroup();
        if (error < 0)
        {
            device!.PutRegistration();
            Put();
            return error;
        }

        int descriptor = Group.Core.Process.InstallFile(file);
        if (descriptor < 0)
        {
            file.Put();
        }

        return descriptor;
    }

    private int FindDevice(string name, out VfioDevice? found)
    {
        found = null;
        VfioDevice[] devices;
        lock (Group.Lock)
        {
            devices = [.. Group.Devices];
        }

        foreach (VfioDevice device in devices)
        {
            int match = device.Match(name);
            if (match < 0)
            {
                return match;
            }

            if (match > 0 && device.TryGetRegistration())
            {
                found = device;
                return 0;
            }
        }

        return -Errno.ENODEV;
    }

    // strndup_user with a page at most.
    private static int CopyName(ulong argument, IUserMemory user, out string name)
    {
        name = "";
        var text = new StringBuilder();
        for (int i = 0; i < 4096; i++)
        {
            byte c;
            if (user.CopyFrom(argument + (ulong)i, &c, 1) < 0)
            {
                return -Errno.EFAULT;
            }

            if (c == 0)
            {
                name = text.ToString();
                return 0;
            }

            text.Append((char)c);
        }

        return -Errno.EINVAL;
    }

    private int GetStatus(ulong argument, IUserMemory user)
    {
        vfio_group_status status;
        if (user.CopyFrom(argument, &status, (nuint)sizeof(vfio_group_status)) < 0)
        {
            return -Errno.EFAULT;
        }

        if (status.argsz < sizeof(vfio_group_status))
        {
            return -Errno.EINVAL;
        }

        status.flags = 0;
        lock (Group.Lock)
        {
            if (Group.IommuGroup is null)
            {
                return -Errno.ENODEV;
            }

            if (Group.HasIommu)
            {
                status.flags = Vfio.VFIO_GROUP_FLAGS_CONTAINER_SET | Vfio.VFIO_GROUP_FLAGS_VIABLE;
            }
            else if (!Group.IommuGroup.IsDmaOwnerClaimed)
            {
                status.flags = Vfio.VFIO_GROUP_FLAGS_VIABLE;
            }
        }

        return user.CopyTo(argument, &status, (nuint)sizeof(vfio_group_status)) < 0 ? -Errno.EFAULT : 0;
    }

    private int SetContainer(ulong argument, IUserMemory user)
    {
        int descriptor;
        if (user.CopyFrom(argument, &descriptor, sizeof(int)) < 0)
        {
            return -Errno.EFAULT;
        }

        SimulatedFile? file = Group.Core.Process.GetFile(descriptor);
        if (file is null && !Group.Core.IsOpen(descriptor))
        {
            return -Errno.EBADF;
        }

        int error = SetContainer(file);
        if (error < 0 || file is not IommufdContext)
        {
            file?.Put();
        }

        return error;
    }

    private int SetContainer(SimulatedFile? file)
    {
        lock (Group.Lock)
        {
            if (Group.HasIommu)
            {
                return -Errno.EINVAL;
            }

            if (Group.IommuGroup is null)
            {
                return -Errno.ENODEV;
            }

            if (file is VfioContainer container)
            {
                return container.Attach(Group);
            }

            if (file is not IommufdContext iommufd)
            {
                return -Errno.EBADFD;
            }

            int error = Group.Type == VfioGroupType.NoIommu ? iommufd.VfioCompatSetNoIommu() : iommufd.VfioCompatIoasCreate();
            if (error == 0)
            {
                Group.Iommufd = iommufd;
            }

            return error;
        }
    }

    private int UnsetContainer()
    {
        lock (Group.Lock)
        {
            if (!Group.HasIommu)
            {
                return -Errno.EINVAL;
            }

            if (Group.Container is not null)
            {
                if (Group.ContainerUsers != 1)
                {
                    return -Errno.EBUSY;
                }

                Group.Container.Detach(Group);
            }

            Group.Iommufd?.Put();
            Group.Iommufd = null;
            return 0;
        }
    }
}
