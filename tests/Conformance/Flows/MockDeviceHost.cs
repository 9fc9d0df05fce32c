using IommuFd.HwSim.Kernel;
using IommuFd.Native;
using IommuFd.Native.Uapi;
using static IommuFd.HwSim.Kernel.iommu_test_cmd;

namespace Conformance.Flows;

/// <summary>
/// Gives the mock devices of IOMMU_TEST_CMD a VFIO character device, <see cref="Node"/>, so that the library's model runs on them: bind makes one,
/// attach and detach are the test commands for that. A mock device is always attached to something; detached is an empty address space here.
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

internal sealed unsafe class MockDeviceKernel(IKernel inner) : PassThroughKernel(inner)
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

    public override int Open(string path, int flags, int mode)
    {
        if (path != MockDeviceHost.Node)
        {
            return base.Open(path, flags, mode);
        }

        int fd = base.EventFd(0, Libc.EFD_CLOEXEC);
        if (fd >= 0)
        {
            _devices[fd] = new Device();
        }

        return fd;
    }

    public override int Close(int fd)
    {
        if (_devices.Remove(fd, out Device? device) && device.IommuFd >= 0)
        {
            foreach (uint id in (uint[])[device.Stdev, device.Empty])
            {
                var destroy = new iommu_destroy { size = (uint)sizeof(iommu_destroy), id = id };
                _ = base.Ioctl(device.IommuFd, Iommufd.IOMMU_DESTROY, (nint)(&destroy));
            }
        }

        return base.Close(fd);
    }

    public override int Ioctl(int fd, uint request, nint argument)
    {
        if (!_devices.TryGetValue(fd, out Device? device))
        {
            return base.Ioctl(fd, request, argument);
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
                int result =
                    Test(device.IommuFd, again ? iommu_test_op.IOMMU_TEST_OP_PASID_REPLACE : iommu_test_op.IOMMU_TEST_OP_PASID_ATTACH, ref pasid);
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
        int result = base.Ioctl(bind->iommufd, Iommufd.IOMMU_IOAS_ALLOC, (nint)(&ioas));
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
            return base.Ioctl(fd, IOMMU_TEST_CMD, (nint)pointer);
        }
    }
}
