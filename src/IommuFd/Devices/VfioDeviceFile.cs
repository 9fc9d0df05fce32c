using IommuFd.Native;
using IommuFd.Native.Uapi;
using IommuFd.Sysfs;
using static IommuFd.Native.Uapi.Vfio;

namespace IommuFd;

/// <summary>
/// An open VFIO character device that is not bound yet. The kernel refuses every access before VFIO_DEVICE_BIND_IOMMUFD, so binding is all that this type
/// can do; regions, interrupts and DMA belong to the <see cref="BoundDevice"/> it gives.
/// </summary>
public sealed class VfioDeviceFile : Resource
{
    private readonly VfioDeviceHandle _handle;
    private int _bound;

    private VfioDeviceFile(IommuHost host, VfioDeviceHandle handle, string path, PciAddress? address)
    {
        Host = host;
        _handle = handle;
        Path = path;
        Address = address;
    }

    /// <summary>The machine it was opened on.</summary>
    public IommuHost Host { get; }

    /// <summary>The node that was opened, <c>/dev/vfio/devices/vfioN</c>.</summary>
    public string Path { get; }

    /// <summary>The PCI function, when it was opened by its address.</summary>
    public PciAddress? Address { get; }

    internal VfioDeviceHandle Handle => _handle;

    internal static VfioDeviceFile Open(IommuHost host, string path, PciAddress? address)
    {
        int fd = host.Kernel.Open(path, Libc.O_RDWR | Libc.O_CLOEXEC, 0);
        if (fd < 0)
        {
            throw Failure.Like("open device", $"open {path}", fd, address is { } known ? [new Evidence("device", known.ToString())] : []);
        }

        return new VfioDeviceFile(host, new VfioDeviceHandle(host.Kernel, fd), path, address);
    }

    /// <summary>Adopts an open, not yet bound descriptor, for example one received from another process; it is closed with the file.</summary>
    /// <param name="host">The machine the descriptor belongs to.</param>
    /// <param name="descriptor">A descriptor of <c>/dev/vfio/devices/vfioN</c>.</param>
    /// <param name="address">The PCI function, when known.</param>
    public static VfioDeviceFile Adopt(IommuHost host, int descriptor, PciAddress? address = null)
    {
        ArgumentNullException.ThrowIfNull(host);
        return new VfioDeviceFile(host, new VfioDeviceHandle(host.Kernel, descriptor), $"descriptor {descriptor}", address);
    }

    /// <summary>
    /// VFIO_DEVICE_BIND_IOMMUFD: gives the device to the context. Its whole IOMMU group is put into block-DMA until the last member is unbound; there is no
    /// unbind command, the end of the <see cref="BoundDevice"/> is.
    /// </summary>
    /// <param name="context">Who will own the device.</param>
    /// <param name="cookie">The caller's name for the device in capability queries, invalidations and fault reports (RFC v2 1.2); unique in the context.</param>
    /// <param name="token">The VF token, for a VF whose PF is in user hands; null for every other device.</param>
    /// <exception cref="IommuFdException">EPERM the group is not viable or interrupts are not isolated, EBUSY the group or cookie is in use, EINVAL bound already, EACCES wrong token.</exception>
    public unsafe BoundDevice Bind(IommuContext context, ulong cookie, Guid? token = null)
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
                    result = _handle.Ioctl(VFIO_DEVICE_BIND_IOMMUFD, ref command);
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
            context.Cookies.Bound(cookie, command.out_devid);
            return new BoundDevice(context, this, command.out_devid, cookie);
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

    private protected override void Free() => _handle.Dispose();
}
