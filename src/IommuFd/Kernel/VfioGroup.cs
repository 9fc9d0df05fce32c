using System.Text;
using IommuFd.Native;
using IommuFd.Native.Uapi;
using static IommuFd.Native.Uapi.Vfio;

namespace IommuFd;

/// <summary>An open <c>/dev/vfio/N</c>: the devices that the IOMMU cannot tell apart, before iommufd.</summary>
public sealed unsafe class VfioGroup : Resource
{
    private readonly VfioGroupHandle _handle;

    private VfioGroup(IommuHost host, string path, VfioGroupHandle handle)
    {
        Host = host;
        Path = path;
        _handle = handle;
    }

    /// <summary>The machine it was opened on.</summary>
    public IommuHost Host { get; }

    /// <summary>The node that was opened.</summary>
    public string Path { get; }

    internal override DescriptorHandle Descriptor => _handle;

    /// <summary>Opens a group by its number; <c>/dev/vfio/noiommu-N</c> for devices without an IOMMU.</summary>
    /// <exception cref="IommuFdException">EBUSY it is open already, ENOENT no member is on a VFIO driver.</exception>
    public static VfioGroup Open(IommuHost host, int number, bool noIommu = false)
    {
        ArgumentNullException.ThrowIfNull(host);
        string path = noIommu ? $"/dev/vfio/noiommu-{number}" : $"/dev/vfio/{number}";
        int fd = host.Kernel.Open(path, Libc.O_RDWR | Libc.O_CLOEXEC, 0);
        return fd >= 0 ? new VfioGroup(host, path, new VfioGroupHandle(host.Kernel, fd)) : throw Failure.Like("open group", $"open {path}", fd);
    }

    /// <summary>
    /// VFIO_GROUP_GET_STATUS: VFIO_GROUP_FLAGS_VIABLE and VFIO_GROUP_FLAGS_CONTAINER_SET. "Viable" only says that there is no other owner now.
    /// </summary>
    /// <exception cref="IommuFdException">The kernel refused.</exception>
    public uint GetStatus()
    {
        vfio_group_status status = new() { argsz = (uint)sizeof(vfio_group_status) };
        _ = Failure.Check(_handle.Ioctl(VFIO_GROUP_GET_STATUS, ref status), nameof(VFIO_GROUP_GET_STATUS));
        return status.flags;
    }

    /// <summary>VFIO_GROUP_SET_CONTAINER.</summary>
    /// <exception cref="IommuFdException">EINVAL it is in a container already, EPERM the group is not viable.</exception>
    public void SetContainer(VfioContainer container)
    {
        ArgumentNullException.ThrowIfNull(container);
        Set(container.Handle);
    }

    /// <summary>
    /// VFIO_GROUP_SET_CONTAINER with an open <c>/dev/iommu</c>: iommufd acts as the container; the address space is that of
    /// <see cref="IommuContext.SetVfioIoas"/>.
    /// </summary>
    /// <exception cref="IommuFdException">EINVAL it is in a container already, EPERM the group is not viable.</exception>
    public void SetContainer(IommuContext context)
    {
        ArgumentNullException.ThrowIfNull(context);
        Set(context.Handle);
    }

    /// <summary>VFIO_GROUP_UNSET_CONTAINER.</summary>
    /// <exception cref="IommuFdException">EBUSY a device of the group is open, EINVAL it is in no container.</exception>
    public void UnsetContainer() => _ = Failure.Check(_handle.Ioctl(VFIO_GROUP_UNSET_CONTAINER, 0), nameof(VFIO_GROUP_UNSET_CONTAINER));

    /// <summary>VFIO_GROUP_GET_DEVICE_FD: opens a member by its name, for PCI its address. It is bound: the container is its address space.</summary>
    /// <param name="name">The device's name in sysfs; for a VF whose PF is in user hands "ADDRESS vf_token=UUID".</param>
    /// <exception cref="IommuFdException">ENODEV no such member, EPERM the group has another owner, EINVAL no container or IOMMU is set.</exception>
    public VfioDeviceHandle GetDevice(string name)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        byte[] text = new byte[Encoding.UTF8.GetByteCount(name) + 1];
        _ = Encoding.UTF8.GetBytes(name, text);
        fixed (byte* pointer = text)
        {
            // SAFETY: the name is pinned for the call and ends with a zero.
            int fd = _handle.Ioctl(VFIO_GROUP_GET_DEVICE_FD, (nint)pointer);
            return fd >= 0
                ? new VfioDeviceHandle(Host.Kernel, fd)
                : throw Failure.Of(nameof(VFIO_GROUP_GET_DEVICE_FD), fd, new Evidence("device", name), new Evidence("group", Path));
        }
    }

    private void Set(DescriptorHandle container)
    {
        bool held = false;
        try
        {
            container.DangerousAddRef(ref held);
            int fd = (int)container.DangerousGetHandle();
            int result = _handle.Ioctl(VFIO_GROUP_SET_CONTAINER, ref fd);
            if (result < 0)
            {
                throw Failure.Of(nameof(VFIO_GROUP_SET_CONTAINER), result, new Evidence("group", Path));
            }
        }
        finally
        {
            if (held)
            {
                container.DangerousRelease();
            }
        }
    }

    private protected override void Free() => _handle.Dispose();
}
