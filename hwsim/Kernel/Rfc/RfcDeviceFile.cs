using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// An open /dev/vfio/devices/vfioN of the proposal. Nothing works before it is bound to a /dev/iommu. It may be bound to several; closing it, with
/// every mapping of it, detaches and unbinds.
/// </summary>
/// <param name="device">The device; the file owns one registration of it.</param>
/// <param name="module">The machine's /dev/iommu.</param>
internal sealed unsafe class RfcDeviceFile(VfioDevice device, RfcModule module) : OpenDeviceFile(device, -Errno.ENODEV)
{
    private readonly List<RfcDevice> _bound = [];

    /// <inheritdoc/>
    public override int Ioctl(uint request, ulong argument, IUserMemory user)
    {
        switch (request)
        {
            case Rfc.VFIO_BIND_IOMMU_FD:
            case Rfc.VFIO_DEVICE_BIND_IOMMUFD:
                return Bind(request, argument, user);
            case Rfc.VFIO_ATTACH_IOASID:
            case Rfc.VFIO_DEVICE_ATTACH_IOASID:
                return AttachOrDetach(request, argument, user, attach: true);
            case Rfc.VFIO_DETACH_IOASID:
            case Rfc.VFIO_DEVICE_DETACH_IOASID:
                return AttachOrDetach(request, argument, user, attach: false);
            default:
                return !AccessGranted ? -Errno.ENODEV : request switch
                {
                    Vfio.VFIO_DEVICE_GET_INFO => RfcDeviceInfo.Get(Device, argument, user),
                    Vfio.VFIO_DEVICE_FEATURE => VfioFeatures.Ioctl(Device, argument, user),
                    Vfio.VFIO_DEVICE_GET_REGION_INFO => VfioDeviceFile.RegionInfo(Device, argument, user),
                    _ => Device.Ioctl(request, argument, user),
                };
        }
    }

    /// <inheritdoc/>
    protected override void Release()
    {
        if (AccessGranted)
        {
            lock (Device.Set.Lock)
            {
                lock (module.Lock)
                {
                    _bound.ForEach(static bound => bound.Unbind());
                    _bound.Clear();
                }

                Device.CloseOwned();
                Device.CdevOpened = false;
            }

            Device.Group.UnblockByCdev();
        }

        Device.PutRegistration();
    }

    private int Bind(uint request, ulong argument, IUserMemory user)
    {
        int error = CopyBind(request, argument, user, out int descriptor, out ulong cookie);
        if (error < 0)
        {
            return error;
        }

        if (Device.Core.Process.GetFile(descriptor) is not { } file)
        {
            return -Errno.EINVAL;
        }

        if (file is not RfcContext context)
        {
            file.Put();
            return -Errno.EINVAL;
        }

        lock (Device.Set.Lock)
        {
            error = Bind(context, cookie);
        }

        file.Put();
        return error;
    }

    private int Bind(RfcContext context, ulong cookie)
    {
        bool first = _bound.Count == 0;

        // A device in a container has its group there. Another file of the same device may not be bound.
        if (first && Device.Group.BlockByCdev() < 0)
        {
            return -Errno.ENOTTY;
        }

        int error;
        lock (module.Lock)
        {
            var bound = new RfcDevice(context, Device, cookie);
            error = first && Device.OpenCount != 0 ? -Errno.EBUSY : bound.Bind(Device.Core.Process);
            if (error == 0 && first)
            {
                error = Device.OpenOwned();
                if (error < 0)
                {
                    bound.Unbind();
                }
            }

            if (error == 0)
            {
                _bound.Add(bound);
                Device.CdevOpened = true;
                AccessGranted = true;
            }
        }

        if (error < 0 && first)
        {
            Device.Group.UnblockByCdev();
        }

        return error;
    }

    private int AttachOrDetach(uint request, ulong argument, IUserMemory user, bool attach)
    {
        int error = CopyAttach(request, argument, user, out vfio_attach_ioasid arguments);
        if (error < 0)
        {
            return error;
        }

        if (Device.Core.Process.GetFile(arguments.iommu_fd) is not { } file)
        {
            return -Errno.EINVAL;
        }

        RfcSnoopHint hint = (arguments.flags & Rfc.IOASID_ATTACH_NO_SNOOP) != 0 ? RfcSnoopHint.NoSnoop
            : (arguments.flags & Rfc.IOASID_ATTACH_SNOOP) != 0 ? RfcSnoopHint.Snoop : RfcSnoopHint.None;
        uint? vpasid = (arguments.flags & Rfc.IOASID_ATTACH_VPASID) != 0 ? arguments.vpasid : null;
        lock (Device.Set.Lock)
        {
            lock (module.Lock)
            {
                error = _bound.Find(b => b.Context == file) is { } bound && bound.Context.FindIoasid(arguments.ioasid) is { } ioasid
                    ? attach ? bound.Attach(ioasid, vpasid, hint) : bound.Detach(ioasid, vpasid)
                    : -Errno.EINVAL;
            }
        }

        file.Put();
        return error;
    }

    // Both numberings: the proposal's with our struct, and September 2021's.
    private static int CopyBind(uint request, ulong argument, IUserMemory user, out int descriptor, out ulong cookie)
    {
        int error;
        if (request == Rfc.VFIO_BIND_IOMMU_FD)
        {
            error = RfcContext.CopyArgument(argument, user, out vfio_bind_iommu_fd bind);
            (descriptor, cookie) = (bind.iommu_fd, bind.cookie);
            return error < 0 ? error : bind.flags != 0 || bind.__reserved != 0 || descriptor < 0 ? -Errno.EINVAL : 0;
        }

        error = RfcContext.CopyArgument(argument, user, out vfio_device_iommu_bind_data data);
        (descriptor, cookie) = (data.iommu_fd, data.dev_cookie);
        return error < 0 ? error : data.flags != 0 || descriptor < 0 ? -Errno.EINVAL : 0;
    }

    private static int CopyAttach(uint request, ulong argument, IUserMemory user, out vfio_attach_ioasid attach)
    {
        int error;
        if (request is Rfc.VFIO_ATTACH_IOASID or Rfc.VFIO_DETACH_IOASID)
        {
            error = RfcContext.CopyArgument(argument, user, out attach);
        }
        else
        {
            error = RfcContext.CopyArgument(argument, user, out vfio_device_attach_ioasid data);
            attach = new vfio_attach_ioasid { iommu_fd = data.iommu_fd, ioasid = data.ioasid };
            error = error == 0 && data.flags != 0 ? -Errno.EINVAL : error;
        }

        const uint hints = Rfc.IOASID_ATTACH_NO_SNOOP | Rfc.IOASID_ATTACH_SNOOP;
        bool isAttach = request is Rfc.VFIO_ATTACH_IOASID or Rfc.VFIO_DEVICE_ATTACH_IOASID;
        uint known = Rfc.IOASID_ATTACH_VPASID | (isAttach ? hints : 0);
        bool isWrong = (attach.flags & ~known) != 0 || (attach.flags & hints) == hints || attach.__reserved != 0;
        return error < 0 ? error : isWrong || attach.iommu_fd < 0 || attach.ioasid < 0 ? -Errno.EINVAL : 0;
    }
}
