using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>An open VFIO device: its cdev, where nothing works before BIND_IOMMUFD, or a descriptor from its group.</summary>
/// <param name="device">The device; the file owns one registration of it.</param>
/// <param name="group">The group it was got from, or null for the cdev.</param>
internal sealed unsafe class VfioDeviceFile(VfioDevice device, VfioGroupFile? group) : OpenDeviceFile(device, -Errno.EINVAL)
{
    /// <summary>The group file it was got from; kept open as long as this one.</summary>
    public VfioGroupFile? Group { get; } = group;

    /// <summary>The iommufd the device is bound to.</summary>
    public IommufdContext? Iommufd { get; set; }

    /// <summary>The device's id there.</summary>
    public uint DeviceId { get; set; }

    /// <summary>vfio_df_group_open: what a group's descriptor needs before it is handed out.</summary>
    public int OpenFromGroup()
    {
        VfioGroup vfioGroup = Device.Group;
        lock (vfioGroup.Lock)
        {
            if (!vfioGroup.HasIommu)
            {
                return -Errno.EINVAL;
            }

            lock (Device.Set.Lock)
            {
                Iommufd = vfioGroup.Iommufd;
                if (Iommufd is not null && vfioGroup.Type == VfioGroupType.NoIommu && Device.OpenCount == 0
                    && (!Device.Core.Process.Capable(Capabilities.SysRawIO) || Iommufd.VfioCompatIoasGetId(out _) == 0))
                {
                    Iommufd = null;
                    return -Errno.EPERM;
                }

                int error = Device.Open(this);
                if (error == 0 && Iommufd is not null && Device.OpenCount == 1 && vfioGroup.Type != VfioGroupType.NoIommu)
                {
                    error = Iommufd.VfioCompatIoasGetId(out uint ioas);
                    if (error == 0)
                    {
                        error = Device.AttachIoas(ref ioas);
                    }

                    if (error < 0)
                    {
                        Device.Close(this);
                    }
                }

                if (error < 0)
                {
                    Iommufd = null;
                    return error;
                }
            }

            AccessGranted = true;
            return 0;
        }
    }

    /// <inheritdoc/>
    public override int Ioctl(uint request, ulong argument, IUserMemory user)
    {
        if (request == Vfio.VFIO_DEVICE_BIND_IOMMUFD)
        {
            return Bind(argument, user);
        }

        if (!AccessGranted)
        {
            return -Errno.EINVAL;
        }

        if (Group is null && Device.Core.HasCdev)
        {
            if (request == Vfio.VFIO_DEVICE_ATTACH_IOMMUFD_PT)
            {
                return Attach(argument, user);
            }

            if (request == Vfio.VFIO_DEVICE_DETACH_IOMMUFD_PT)
            {
                return Detach(argument, user);
            }
        }

        return request switch
        {
            Vfio.VFIO_DEVICE_FEATURE => VfioFeatures.Ioctl(Device, argument, user),
            Vfio.VFIO_DEVICE_GET_REGION_INFO => RegionInfo(Device, argument, user),
            _ => Device.Ioctl(request, argument, user),
        };
    }

    /// <inheritdoc/>
    protected override void Release()
    {
        if (Group is not null)
        {
            lock (Device.Group.Lock)
            {
                lock (Device.Set.Lock)
                {
                    Device.Close(this);
                    Iommufd = null;
                }
            }

            Device.PutRegistration();
            Group.Put();
            return;
        }

        if (AccessGranted)
        {
            lock (Device.Set.Lock)
            {
                Device.Close(this);
                Iommufd!.Put();
                Iommufd = null;
                Device.CdevOpened = false;
            }

            Device.Group.UnblockByCdev();
        }

        Device.PutRegistration();
    }

    private int Bind(ulong argument, IUserMemory user)
    {
        uint userSize;
        if (user.CopyFrom(argument, &userSize, sizeof(uint)) < 0)
        {
            return -Errno.EFAULT;
        }

        // The token came later than out_devid: the argument may end before it.
        if (userSize < 16)
        {
            return -Errno.EINVAL;
        }

        vfio_device_bind_iommufd bind;
        int error = UserCopy.StructFrom(user, &bind, (nuint)sizeof(vfio_device_bind_iommufd), argument, userSize);
        if (error < 0)
        {
            return error;
        }

        if (bind.iommufd < 0 || (bind.flags & ~Vfio.VFIO_DEVICE_BIND_FLAG_TOKEN) != 0 || Group is not null)
        {
            return -Errno.EINVAL;
        }

        error = Device.Group.BlockByCdev();
        if (error < 0)
        {
            return error;
        }

        lock (Device.Set.Lock)
        {
            error = BindLocked(bind, argument, user);
        }

        if (error < 0)
        {
            Device.Group.UnblockByCdev();
        }

        return error;
    }

    private int BindLocked(in vfio_device_bind_iommufd bind, ulong argument, IUserMemory user)
    {
        if (AccessGranted)
        {
            return -Errno.EINVAL;
        }

        int error = CheckToken(bind, user);
        if (error < 0)
        {
            return error;
        }

        error = Device.Core.IommufdFrom(bind.iommufd, out IommufdContext? iommufd);
        if (error < 0)
        {
            return error;
        }

        return OpenBound(iommufd!, () =>
        {
            uint id = DeviceId;
            return user.CopyTo(argument + 12, &id, sizeof(uint));
        });
    }

    /// <summary>Binds the device without a call from user space: for a process that is not there itself.</summary>
    public int BindTo(IommufdContext iommufd)
    {
        int error = Device.Group.BlockByCdev();
        if (error < 0)
        {
            return error;
        }

        lock (Device.Set.Lock)
        {
            return OpenBound(iommufd, static () => 0);
        }
    }

    // The reference of the iommufd is the caller's to give: it is kept, or put when the device cannot be opened.
    private int OpenBound(IommufdContext iommufd, Func<int> report)
    {
        Iommufd = iommufd;
        int error = Device.Open(this);
        if (error == 0)
        {
            error = report();
            if (error == 0)
            {
                Device.CdevOpened = true;
                AccessGranted = true;
                return 0;
            }

            Device.Close(this);
        }

        Iommufd = null;
        iommufd.Put();
        return error;
    }

    private int CheckToken(in vfio_device_bind_iommufd bind, IUserMemory user)
    {
        bool given = (bind.flags & Vfio.VFIO_DEVICE_BIND_FLAG_TOKEN) != 0;
        if (!Device.HasTokens)
        {
            return given ? -Errno.EINVAL : 0;
        }

        if (!given)
        {
            return Device.MatchToken(null);
        }

        byte* bytes = stackalloc byte[16];
        return user.CopyFrom(bind.token_uuid_ptr, bytes, 16) < 0
            ? -Errno.EFAULT
            : Device.MatchToken(new Guid(new ReadOnlySpan<byte>(bytes, 16), bigEndian: true));
    }

    private int Attach(ulong argument, IUserMemory user)
    {
        vfio_device_attach_iommufd_pt attach = default;
        int error = CopyPasidArgument(argument, 12, 16, Vfio.VFIO_DEVICE_ATTACH_PASID, &attach, user);
        if (error < 0)
        {
            return error;
        }

        lock (Device.Set.Lock)
        {
            uint id = attach.pt_id;
            bool pasid = (attach.flags & Vfio.VFIO_DEVICE_ATTACH_PASID) != 0;
            error = pasid ? Device.AttachPasid(attach.pasid, ref id) : Device.AttachIoas(ref id);
            if (error < 0)
            {
                return error;
            }

            if (user.CopyTo(argument + 8, &id, sizeof(uint)) < 0)
            {
                Device.DetachIoas();
                return -Errno.EFAULT;
            }

            return 0;
        }
    }

    private int Detach(ulong argument, IUserMemory user)
    {
        vfio_device_detach_iommufd_pt detach = default;
        int error = CopyPasidArgument(argument, 8, 12, Vfio.VFIO_DEVICE_DETACH_PASID, &detach, user);
        if (error < 0)
        {
            return error;
        }

        lock (Device.Set.Lock)
        {
            if ((detach.flags & Vfio.VFIO_DEVICE_DETACH_PASID) != 0)
            {
                Device.DetachPasid(detach.pasid);
            }
            else
            {
                Device.DetachIoas();
            }

            return 0;
        }
    }

    // argsz, flags, ... and a PASID at the end that is there only when the flag says so.
    private int CopyPasidArgument(ulong argument, uint minimum, uint withPasid, uint pasidFlag, void* target, IUserMemory user)
    {
        if (user.CopyFrom(argument, target, minimum) < 0)
        {
            return -Errno.EFAULT;
        }

        uint size = ((uint*)target)[0], flags = ((uint*)target)[1];
        if (size < minimum || (flags & ~pasidFlag) != 0)
        {
            return -Errno.EINVAL;
        }

        if (flags == 0)
        {
            return 0;
        }

        if (!Device.HasPasids)
        {
            return -Errno.EOPNOTSUPP;
        }

        if (size < withPasid)
        {
            return -Errno.EINVAL;
        }

        return user.CopyFrom(argument + minimum, (byte*)target + minimum, withPasid - minimum) < 0 ? -Errno.EFAULT : 0;
    }

    /// <summary>VFIO_DEVICE_GET_REGION_INFO, with the capabilities behind the struct.</summary>
    internal static int RegionInfo(VfioDevice device, ulong argument, IUserMemory user)
    {
        vfio_region_info info;
        uint size = (uint)sizeof(vfio_region_info);
        if (user.CopyFrom(argument, &info, size) < 0)
        {
            return -Errno.EFAULT;
        }

        if (info.argsz < size)
        {
            return -Errno.EINVAL;
        }

        var capabilities = new List<byte[]>();
        int error = device.RegionInfo(ref info, capabilities);
        if (error < 0)
        {
            return error;
        }

        error = InfoCapabilities.CopyTo(capabilities, argument, size, ref info.argsz, ref info.cap_offset, user);
        if (capabilities.Count > 0)
        {
            info.flags |= Vfio.VFIO_REGION_INFO_FLAG_CAPS;
        }

        return error < 0 ? error : user.CopyTo(argument, &info, size) < 0 ? -Errno.EFAULT : 0;
    }
}
