using IommuFd.Native;
using IommuFd.Native.Uapi;
using Xunit;
using static IommuFd.Native.Errno;
using static IommuFd.Native.Uapi.Vfio;

namespace Conformance.Vfio;

/// <summary>The states of a device's cdev: nothing works before BIND_IOMMUFD, attaching comes after it, closing undoes both.</summary>
public sealed class DeviceStateTests : IDisposable
{
    private readonly TestHost _t = new();

    public void Dispose() => _t.Dispose();

    [Theory]
    [InlineData(VFIO_DEVICE_GET_INFO)]
    [InlineData(VFIO_DEVICE_GET_REGION_INFO)]
    [InlineData(VFIO_DEVICE_GET_IRQ_INFO)]
    [InlineData(VFIO_DEVICE_SET_IRQS)]
    [InlineData(VFIO_DEVICE_RESET)]
    [InlineData(VFIO_DEVICE_FEATURE)]
    [InlineData(VFIO_DEVICE_GET_PCI_HOT_RESET_INFO)]
    [InlineData(VFIO_DEVICE_ATTACH_IOMMUFD_PT)]
    [InlineData(VFIO_DEVICE_DETACH_IOMMUFD_PT)]
    [InlineData(0x3b01u)]
    public void Before_bind_every_command_is_EINVAL(uint request) =>
        TestHost.Fails(EINVAL, _t.Ioctl(_t.OpenDevice(_t.Single), request, new byte[128]));

    [Fact]
    public void Before_bind_a_region_read_is_EINVAL()
    {
        int device = _t.OpenDevice(_t.Single);
        Assert.Equal(-EINVAL, _t.ReadRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, 0, 4, out _));
        Assert.Equal(-EINVAL, _t.WriteRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, 0, 4, 0));
        Assert.Equal(-EINVAL, _t.Kernel.Mmap(0, 4096, Libc.PROT_READ, Libc.MAP_SHARED, device, 0));
    }

    [Fact]
    public void Bind_gives_the_device_an_id_in_the_iommufd() => Assert.NotEqual(0, _t.Bind(_t.OpenDevice(_t.Single), _t.OpenIommu()));

    [Fact]
    public void Bind_twice_is_EINVAL()
    {
        int device = _t.OpenDevice(_t.Single), iommufd = _t.OpenIommu();
        _t.Bind(device, iommufd);
        TestHost.Fails(EINVAL, _t.TryBind(device, iommufd));
    }

    [Fact]
    public void A_second_open_file_cannot_bind_a_bound_device()
    {
        int iommufd = _t.OpenIommu();
        _t.Bind(_t.OpenDevice(_t.Single), iommufd);
        TestHost.Fails(EINVAL, _t.TryBind(_t.Open(_t.CdevOf(_t.Single)), iommufd));
    }

    [Fact]
    public void Closing_the_device_makes_it_free_again()
    {
        int iommufd = _t.OpenIommu(), first = _t.OpenDevice(_t.Single);
        _t.Bind(first, iommufd);
        _t.Close(first);
        _t.Bind(_t.Open(_t.CdevOf(_t.Single)), iommufd);
    }

    [Fact]
    public void Closing_the_iommufd_first_leaves_the_device_bound()
    {
        int iommufd = _t.OpenIommu(), device = _t.OpenDevice(_t.Single);
        _t.Bind(device, iommufd);
        _t.Close(iommufd);
        Assert.NotEqual(0u, _t.Info(device).num_regions);
        TestHost.Fails(EINVAL, _t.TryBind(device, _t.OpenIommu()));
    }

    [Fact]
    public void Bind_to_a_closed_descriptor_is_EBADF()
    {
        int device = _t.OpenDevice(_t.Single), iommufd = _t.OpenIommu();
        _t.Close(iommufd);
        TestHost.Fails(EBADF, _t.TryBind(device, iommufd));
    }

    [Fact]
    public void Bind_to_another_kind_of_file_is_EBADFD()
    {
        int device = _t.OpenDevice(_t.Single);
        TestHost.Fails(EBADFD, _t.TryBind(device, _t.EventFd()));
        TestHost.Fails(EBADFD, _t.TryBind(device, device));
    }

    [Fact]
    public void Bind_to_a_negative_descriptor_is_EINVAL() => TestHost.Fails(EINVAL, _t.TryBind(_t.OpenDevice(_t.Single), -1));

    [Fact]
    public void A_failed_bind_leaves_the_device_to_be_bound()
    {
        int device = _t.OpenDevice(_t.Single);
        TestHost.Fails(EBADFD, _t.TryBind(device, _t.EventFd()));
        _t.Bind(device, _t.OpenIommu());
    }

    [Theory]
    [InlineData(0, EINVAL)]
    [InlineData(12, EINVAL)]
    [InlineData(15, EINVAL)]
    [InlineData(16, 0)]
    [InlineData(20, 0)]
    [InlineData(24, 0)]
    [InlineData(64, 0)]
    public void Bind_takes_every_size_from_the_end_of_out_devid(int size, int errno)
    {
        byte[] argument = new byte[64];
        BitConverter.TryWriteBytes(argument, size);
        BitConverter.TryWriteBytes(argument.AsSpan(8), _t.OpenIommu());
        Assert.Equal(-errno, _t.Ioctl(_t.OpenDevice(_t.Single), VFIO_DEVICE_BIND_IOMMUFD, argument));
    }

    [Fact]
    public void Bind_with_a_tail_that_the_kernel_does_not_know_is_E2BIG()
    {
        byte[] argument = new byte[64];
        BitConverter.TryWriteBytes(argument, 64);
        BitConverter.TryWriteBytes(argument.AsSpan(8), _t.OpenIommu());
        argument[40] = 1;
        TestHost.Fails(E2BIG, _t.Ioctl(_t.OpenDevice(_t.Single), VFIO_DEVICE_BIND_IOMMUFD, argument));
    }

    [Fact]
    public unsafe void Bind_with_an_unknown_flag_is_EINVAL()
    {
        vfio_device_bind_iommufd bind = new() { argsz = (uint)sizeof(vfio_device_bind_iommufd), flags = 2, iommufd = _t.OpenIommu() };
        TestHost.Fails(EINVAL, _t.Ioctl(_t.OpenDevice(_t.Single), VFIO_DEVICE_BIND_IOMMUFD, ref bind));
    }

    [Fact]
    public void Bind_with_a_wild_pointer_is_EFAULT() =>
        TestHost.Fails(EFAULT, _t.Kernel.Ioctl(_t.OpenDevice(_t.Single), VFIO_DEVICE_BIND_IOMMUFD, 0x1000));

    [Fact]
    public unsafe void A_token_for_a_device_without_SR_IOV_is_EINVAL()
    {
        Guid token = Guid.NewGuid();
        vfio_device_bind_iommufd bind = new()
        {
            argsz = (uint)sizeof(vfio_device_bind_iommufd), flags = VFIO_DEVICE_BIND_FLAG_TOKEN, iommufd = _t.OpenIommu(),
            token_uuid_ptr = (ulong)&token,
        };
        TestHost.Fails(EINVAL, _t.Ioctl(_t.OpenDevice(_t.Single), VFIO_DEVICE_BIND_IOMMUFD, ref bind));
    }

    [Fact]
    public unsafe void A_physical_function_without_virtual_ones_takes_any_token()
    {
        Guid token = Guid.NewGuid();
        vfio_device_bind_iommufd bind = new()
        {
            argsz = (uint)sizeof(vfio_device_bind_iommufd), flags = VFIO_DEVICE_BIND_FLAG_TOKEN, iommufd = _t.OpenIommu(),
            token_uuid_ptr = (ulong)&token,
        };
        TestHost.Succeeds(_t.Ioctl(_t.OpenDevice(_t.Nic), VFIO_DEVICE_BIND_IOMMUFD, ref bind), "BIND with token");
    }

    [Fact]
    public void An_unknown_command_after_bind_is_ENOTTY()
    {
        int device = _t.OpenDevice(_t.Single);
        _t.Bind(device, _t.OpenIommu());
        TestHost.Fails(ENOTTY, _t.Kernel.Ioctl(device, 0x3b01, 0));
        TestHost.Fails(ENOTTY, _t.Kernel.Ioctl(device, VFIO_GROUP_GET_STATUS, 0));
    }

    [Fact]
    public void A_duplicate_of_the_descriptor_is_the_same_device()
    {
        int device = _t.OpenDevice(_t.Single), iommufd = _t.OpenIommu();
        int copy = _t.Keep(TestHost.Succeeds(_t.Kernel.Fcntl(device, Libc.F_DUPFD_CLOEXEC, 0), "dup"));
        _t.Bind(copy, iommufd);
        TestHost.Fails(EINVAL, _t.TryBind(device, iommufd));
        _t.Close(copy);
        Assert.NotEqual(0u, _t.Info(device).num_regions);
    }

    [Fact]
    public unsafe void A_descriptor_that_travelled_over_a_socket_is_the_same_device()
    {
        int device = _t.OpenDevice(_t.Single), iommufd = _t.OpenIommu();
        _t.Bind(device, iommufd);
        int* pair = stackalloc int[2];
        TestHost.Succeeds(_t.Kernel.SocketPair(Libc.SOCK_SEQPACKET | Libc.SOCK_CLOEXEC, (nint)pair), "socketpair");
        _t.Keep(pair[0]);
        _t.Keep(pair[1]);
        byte payload = 1;
        Assert.Equal(1, _t.Kernel.SendDescriptors(pair[0], (nint)(&payload), 1, (nint)(&device), 1));
        _t.Close(device);
        int received = -1, room = 1;
        Assert.Equal(1, _t.Kernel.ReceiveDescriptors(pair[1], (nint)(&payload), 1, (nint)(&received), ref room));
        Assert.Equal(1, room);
        _t.Keep(received);
        Assert.NotEqual(0u, _t.Info(received).num_regions);
    }
}
