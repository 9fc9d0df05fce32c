using IommuFd.HwSim.Kernel;
using IommuFd.Native;
using IommuFd.Native.Uapi;
using static IommuFd.HwSim.Kernel.iommu_test_cmd;

namespace Conformance.Flows;

/// <summary>
/// Gives the mock devices of IOMMU_TEST_CMD a VFIO character device, <see cref="Node"/>, so that the library's model runs on them: bind makes one, attach and
/// detach are the test commands for that. A mock device is always attached to something; detached is an empty address space here.
/// </summary>
internal sealed class MockDeviceHost(IHost inner) : IHost
{
    internal const string Node = "/dev/vfio/devices/mock";

    public HostKind Kind => inner.Kind;

    public string Description => inner.Description;

    public ISysfs Sysfs => inner.Sysfs;

    IKernel IHost.Kernel => Kernel;

    internal MockDeviceKernel Kernel { get; } = new(inner.Kernel);

    public void Dispose()
    {
    }
}

internal sealed unsafe class MockDeviceKernel(IKernel inner) : IKernel
{
    private readonly Dictionary<int, Device> _devices = [];

    /// <summary>The iommufd that the last device was bound to.</summary>
    internal int IommuFd { get; private set; } = -1;

    /// <summary>The object that stands for the last device in test commands.</summary>
    internal uint Stdev { get; private set; }

    private sealed class Device
    {
        public int IommuFd { get; set; } = -1;

        public uint Empty { get; set; }

        public uint Stdev { get; set; }

        public HashSet<uint> Pasids { get; } = [];
    }

    public int Open(string path, int flags, int mode)
    {
        if (path != MockDeviceHost.Node)
        {
            return inner.Open(path, flags, mode);
        }

        int fd = inner.EventFd(0, Libc.EFD_CLOEXEC);
        if (fd >= 0)
        {
            _devices[fd] = new Device();
        }

        return fd;
    }

    public int Close(int fd)
    {
        if (_devices.Remove(fd, out Device? device) && device.IommuFd >= 0)
        {
            foreach (uint id in (uint[])[device.Stdev, device.Empty])
            {
                var destroy = new iommu_destroy { size = (uint)sizeof(iommu_destroy), id = id };
                _ = inner.Ioctl(device.IommuFd, Iommufd.IOMMU_DESTROY, (nint)(&destroy));
            }
        }

        return inner.Close(fd);
    }

    public int Ioctl(int fd, uint request, nint argument)
    {
        if (!_devices.TryGetValue(fd, out Device? device))
        {
            return inner.Ioctl(fd, request, argument);
        }

        switch (request)
        {
            case global::IommuFd.Native.Uapi.Vfio.VFIO_DEVICE_BIND_IOMMUFD:
                return Bind(device, (vfio_device_bind_iommufd*)argument);
            case global::IommuFd.Native.Uapi.Vfio.VFIO_DEVICE_ATTACH_IOMMUFD_PT:
                vfio_device_attach_iommufd_pt* attach = (vfio_device_attach_iommufd_pt*)argument;
                if (attach->flags == 0)
                {
                    var replace = new iommu_test_cmd { id = device.Stdev, mock_domain_replace_pt_id = attach->pt_id };
                    int replaced = Test(device.IommuFd, iommu_test_op.IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE, ref replace);
                    attach->pt_id = replace.mock_domain_replace_pt_id;
                    return replaced;
                }

                var pasid = new iommu_test_cmd { id = device.Stdev, pasid_attach_pasid = attach->pasid, pasid_attach_pt_id = attach->pt_id };
                bool again = device.Pasids.Contains(attach->pasid);
                int result = Test(device.IommuFd, again ? iommu_test_op.IOMMU_TEST_OP_PASID_REPLACE : iommu_test_op.IOMMU_TEST_OP_PASID_ATTACH, ref pasid);
                attach->pt_id = pasid.pasid_attach_pt_id;
                _ = result >= 0 && device.Pasids.Add(attach->pasid);
                return result;
            case global::IommuFd.Native.Uapi.Vfio.VFIO_DEVICE_DETACH_IOMMUFD_PT:
                vfio_device_detach_iommufd_pt* detach = (vfio_device_detach_iommufd_pt*)argument;
                if (detach->flags == 0)
                {
                    var empty = new iommu_test_cmd { id = device.Stdev, mock_domain_replace_pt_id = device.Empty };
                    return Test(device.IommuFd, iommu_test_op.IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE, ref empty);
                }

                _ = device.Pasids.Remove(detach->pasid);
                var gone = new iommu_test_cmd { id = device.Stdev, pasid_attach_pasid = detach->pasid };
                return Test(device.IommuFd, iommu_test_op.IOMMU_TEST_OP_PASID_DETACH, ref gone);
            default:
                return -Errno.ENOTTY;
        }
    }

    /// <summary>A test command on the last device's iommufd.</summary>
    internal int Test(iommu_test_op op, ref iommu_test_cmd command) => Test(IommuFd, op, ref command);

    private int Bind(Device device, vfio_device_bind_iommufd* bind)
    {
        var ioas = new iommu_ioas_alloc { size = (uint)sizeof(iommu_ioas_alloc) };
        int result = inner.Ioctl(bind->iommufd, Iommufd.IOMMU_IOAS_ALLOC, (nint)(&ioas));
        if (result < 0)
        {
            return result;
        }

        var mock = new iommu_test_cmd { id = ioas.out_ioas_id, mock_domain_flags_dev_flags = MOCK_FLAGS_DEVICE_PASID };
        result = Test(bind->iommufd, iommu_test_op.IOMMU_TEST_OP_MOCK_DOMAIN_FLAGS, ref mock);
        if (result >= 0)
        {
            (device.IommuFd, device.Empty, device.Stdev) = (bind->iommufd, ioas.out_ioas_id, mock.mock_domain_out_stdev_id);
            (IommuFd, Stdev) = (device.IommuFd, device.Stdev);
            bind->out_devid = mock.mock_domain_out_idev_id;
        }

        return result;
    }

    private int Test(int fd, iommu_test_op op, ref iommu_test_cmd command)
    {
        command.size = (uint)sizeof(iommu_test_cmd);
        command.op = (uint)op;
        fixed (iommu_test_cmd* pointer = &command)
        {
            return inner.Ioctl(fd, IOMMU_TEST_CMD, (nint)pointer);
        }
    }

    public nint Mmap(nint address, nuint length, int protection, int flags, int fd, long offset) => inner.Mmap(address, length, protection, flags, fd, offset);

    public int Munmap(nint address, nuint length) => inner.Munmap(address, length);

    public int Madvise(nint address, nuint length, int advice) => inner.Madvise(address, length, advice);

    public int Mbind(nint address, nuint length, int node) => inner.Mbind(address, length, node);

    public nint Read(int fd, nint buffer, nuint count) => inner.Read(fd, buffer, count);

    public nint Write(int fd, nint buffer, nuint count) => inner.Write(fd, buffer, count);

    public nint Pread(int fd, nint buffer, nuint count, long offset) => inner.Pread(fd, buffer, count, offset);

    public nint Pwrite(int fd, nint buffer, nuint count, long offset) => inner.Pwrite(fd, buffer, count, offset);

    public int Poll(nint descriptors, uint count, int timeoutMilliseconds) => inner.Poll(descriptors, count, timeoutMilliseconds);

    public int EpollCreate(int flags) => inner.EpollCreate(flags);

    public int EpollControl(int epoll, int operation, int fd, uint events, ulong token) => inner.EpollControl(epoll, operation, fd, events, token);

    public int EpollWait(int epoll, nint ready, int count, int timeoutMilliseconds) => inner.EpollWait(epoll, ready, count, timeoutMilliseconds);

    public int EventFd(uint initialValue, int flags) => inner.EventFd(initialValue, flags);

    public int MemFdCreate(string name, uint flags) => inner.MemFdCreate(name, flags);

    public int Ftruncate(int fd, long length) => inner.Ftruncate(fd, length);

    public int Fcntl(int fd, int command, nint argument) => inner.Fcntl(fd, command, argument);

    public int SocketPair(int type, nint pair) => inner.SocketPair(type, pair);

    public nint SendDescriptors(int socket, nint payload, nuint payloadLength, nint fds, int fdCount) => inner.SendDescriptors(socket, payload, payloadLength, fds, fdCount);

    public nint ReceiveDescriptors(int socket, nint payload, nuint payloadLength, nint fds, ref int fdCount) =>
        inner.ReceiveDescriptors(socket, payload, payloadLength, fds, ref fdCount);

    public int GetResourceLimit(int resource, out ulong soft, out ulong hard) => inner.GetResourceLimit(resource, out soft, out hard);

    public int SetResourceLimit(int resource, ulong soft, ulong hard) => inner.SetResourceLimit(resource, soft, hard);
}
