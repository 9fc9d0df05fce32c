using IommuFd.Native;
using IommuFd.Native.Uapi;
using IommuFd.Sysfs;
using static IommuFd.Native.Uapi.Vfio;

namespace IommuFd;

/// <summary>
/// An open VFIO character device that is not bound yet. The kernel refuses every access before VFIO_DEVICE_BIND_IOMMUFD, so binding is all that this
/// type can do; regions, interrupts and DMA belong to the <see cref="BoundDevice"/> it gives.
/// </summary>
public sealed class VfioDeviceFile : Resource
{
    private readonly VfioLocation _location;
    private VfioDeviceHandle? _handle; // null where the kernel has no character device, and once a group has taken its place
    private int _bound;

    private VfioDeviceFile(IommuHost host, VfioDeviceHandle? handle, string path, PciAddress? address, VfioLocation location)
    {
        Host = host;
        _handle = handle;
        _location = location;
        Path = path;
        Address = address;
    }

    /// <summary>The machine it was opened on.</summary>
    public IommuHost Host { get; }

    /// <summary>The node, <c>/dev/vfio/devices/vfioN</c>; the group's, <c>/dev/vfio/N</c>, where the kernel has no character devices.</summary>
    public string Path { get; }

    /// <summary>The PCI function, when it was opened by its address.</summary>
    public PciAddress? Address { get; }

    internal static VfioDeviceFile Open(IommuHost host, PciAddress address)
    {
        VfioLocation location = VfioDevicePath.Find(host, address);
        return location.Node is { } node
            ? Open(host, node, address, location)
            : new VfioDeviceFile(host, null, location.IsNoIommu ? $"/dev/vfio/noiommu-{location.Group}" : $"/dev/vfio/{location.Group}", address,
                location);
    }

    internal static VfioDeviceFile Open(IommuHost host, string path, PciAddress? address, VfioLocation location = default)
    {
        int fd = host.Kernel.Open(path, Libc.O_RDWR | Libc.O_CLOEXEC, 0);
        if (fd < 0)
        {
            throw Failure.Like("open device", $"open {path}", fd, address is { } known ? [new Evidence("device", known.ToString())] : []);
        }

        return new VfioDeviceFile(host, new VfioDeviceHandle(host.Kernel, fd), path, address, location);
    }

    /// <summary>Adopts an open, not yet bound descriptor, for example one received from another process; it is closed with the file.</summary>
    /// <param name="host">The machine the descriptor belongs to.</param>
    /// <param name="descriptor">A descriptor of <c>/dev/vfio/devices/vfioN</c>.</param>
    /// <param name="address">The PCI function, when known.</param>
    public static VfioDeviceFile Adopt(IommuHost host, int descriptor, PciAddress? address = null)
    {
        ArgumentNullException.ThrowIfNull(host);
        return new VfioDeviceFile(host, new VfioDeviceHandle(host.Kernel, descriptor), $"descriptor {descriptor}", address, default);
    }

    internal override DescriptorHandle? Descriptor => _handle;

    /// <summary>Adopts a descriptor that another process bound to the context that was adopted with it; there is no second bind.</summary>
    /// <param name="context">The context it is bound to.</param>
    /// <param name="descriptor">The device's descriptor; closed with the device.</param>
    /// <param name="deviceId">The context's id of the device, as the binding process got it.</param>
    /// <param name="cookie">The name of the device from now on; unique in the context here.</param>
    /// <param name="address">The PCI function, when known.</param>
    /// <exception cref="IommuFdException">EBUSY the cookie is in use.</exception>
    public static BoundDevice AdoptBound(IommuContext context, int descriptor, uint deviceId, ulong cookie, PciAddress? address = null)
    {
        ArgumentNullException.ThrowIfNull(context);
        if (!context.Cookies.TryReserve(cookie))
        {
            throw Failure.Of("bind cookie", Errno.EBUSY, Evidence.Hex("cookie", cookie));
        }

        context.Cookies.Bound(cookie, deviceId);
        context.Enter();
        VfioDeviceFile file = Adopt(context.Host, descriptor, address);
        file.Enter();
        file._bound = 1;
        BoundDevice device = new(context, file, file._handle!, deviceId, cookie, null);
        file.Dispose(); // the device alone decides how long the descriptor lives
        return device;
    }

    /// <summary>
    /// VFIO_DEVICE_BIND_IOMMUFD (VFIO_GROUP_GET_DEVICE_FD over containers): gives the device to the context. Its whole IOMMU group is put into
    /// block-DMA until the last member is unbound; there is no unbind command, the end of the <see cref="BoundDevice"/> is.
    /// </summary>
    /// <param name="context">Who will own the device.</param>
    /// <param name="cookie">The caller's name for the device in capability queries, invalidations and fault reports (RFC v2 1.2); unique in the
    /// context.</param>
    /// <param name="token">The VF token, for a VF whose PF is in user hands; null for every other device.</param>
    /// <exception cref="IommuFdException">EPERM the group is not viable or interrupts are not isolated, EBUSY the group or cookie is in use, EINVAL
    /// bound already, EACCES wrong token.</exception>
    public BoundDevice Bind(IommuContext context, ulong cookie, Guid? token = null)
    {
        ArgumentNullException.ThrowIfNull(context);
        Enter();
        if (!context.TryEnter())
        {
            Exit();
            ObjectDisposedException.ThrowIf(true, context);
        }

        bool reserved = false;
        try
        {
            reserved = context.Cookies.TryReserve(cookie);
            if (!reserved)
            {
                throw Failure.Of("bind cookie", Errno.EBUSY, Evidence.Hex("cookie", cookie));
            }

            BoundDevice device = context.Kind switch
            {
                ContextKind.Container => BindToGroup(context, cookie, token),
                ContextKind.Rfc => BindByCookie(context, cookie),
                _ => BindToContext(context, cookie, token),
            };
            context.Cookies.Bound(cookie, device.DeviceId);
            return device;
        }
        catch
        {
            if (reserved)
            {
                context.Cookies.Release(cookie);
            }

            context.Exit();
            Exit();
            throw;
        }
    }

    private unsafe BoundDevice BindToContext(IommuContext context, ulong cookie, Guid? token)
    {
        VfioDeviceHandle handle = _handle
            ?? throw VfioDevicePath.NoCharacterDevice("VFIO_DEVICE_BIND_IOMMUFD", new Evidence("device", Address?.ToString() ?? Path));

        // SAFETY: the UUID lives on the stack for the length of the call; the context's handle is held for its length, so its number is valid.
        Span<byte> uuid = stackalloc byte[16];
        bool withToken = token is { } given && given.TryWriteBytes(uuid, bigEndian: true, out _);
        int result;
        vfio_device_bind_iommufd command;
        bool held = false;
        try
        {
            context.Handle.DangerousAddRef(ref held);
            fixed (byte* pointer = uuid)
            {
                command = new vfio_device_bind_iommufd
                {
                    argsz = (uint)sizeof(vfio_device_bind_iommufd),
                    flags = withToken ? VFIO_DEVICE_BIND_FLAG_TOKEN : 0,
                    iommufd = (int)context.Handle.DangerousGetHandle(),
                    token_uuid_ptr = withToken ? (ulong)pointer : 0,
                };
                result = handle.Ioctl(VFIO_DEVICE_BIND_IOMMUFD, ref command);
            }
        }
        finally
        {
            if (held)
            {
                context.Handle.DangerousRelease();
            }
        }

        if (result < 0)
        {
            throw BindDiagnosis.Explain(this, result, Volatile.Read(ref _bound) != 0);
        }

        Volatile.Write(ref _bound, 1);
        return new BoundDevice(context, this, handle, command.out_devid, cookie, null);
    }

    // The proposal's VFIO_BIND_IOMMU_FD: here the kernel knows the cookie itself.
    private unsafe BoundDevice BindByCookie(IommuContext context, ulong cookie)
    {
        VfioDeviceHandle handle = _handle
            ?? throw VfioDevicePath.NoCharacterDevice(nameof(Rfc.VFIO_BIND_IOMMU_FD), new Evidence("device", Address?.ToString() ?? Path));
        vfio_bind_iommu_fd command = new() { argsz = (uint)sizeof(vfio_bind_iommu_fd), cookie = cookie };
        bool held = false;
        int result;
        try
        {
            context.Handle.DangerousAddRef(ref held);
            command.iommu_fd = (int)context.Handle.DangerousGetHandle();
            result = handle.Ioctl(Rfc.VFIO_BIND_IOMMU_FD, ref command);
        }
        finally
        {
            if (held)
            {
                context.Handle.DangerousRelease();
            }
        }

        if (result < 0)
        {
            throw Failure.Of(nameof(Rfc.VFIO_BIND_IOMMU_FD), result, new Evidence("device", Address?.ToString() ?? Path),
                Evidence.Hex("cookie", cookie));
        }

        Volatile.Write(ref _bound, 1);
        return new BoundDevice(context, this, handle, 0, cookie, null);
    }

    private BoundDevice BindToGroup(IommuContext context, ulong cookie, Guid? token)
    {
        if (_location.Group is not { } number || Address is not { } address)
        {
            throw Failure.Because(
                "bind", Errno.EINVAL, FailureCause.CannotBind, "over containers a device is found by its PCI address and group",
                "Open it with OpenDevice(PciAddress).",
                new Evidence("device", Path));
        }

        _handle?.Dispose(); // the kernel opens no group while a character device of it is open
        _handle = null;
        ContainerGroup group = context.Groups!.Acquire(number, _location.IsNoIommu);
        try
        {
            return new BoundDevice(context, this, group.Group.GetDevice(token is { } uuid ? $"{address} vf_token={uuid}" : address.ToString()), 0,
                cookie, group);
        }
        catch
        {
            context.Groups!.Release(group);
            throw;
        }
    }

    private protected override void Free() => _handle?.Dispose();
}
