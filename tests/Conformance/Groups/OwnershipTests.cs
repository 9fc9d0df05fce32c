using Conformance.Vfio;
using IommuFd.Native;
using IommuFd.Native.Uapi;
using IommuFd.Sysfs;
using Xunit;
using static IommuFd.Native.Errno;
using static IommuFd.Native.Uapi.Vfio;

namespace Conformance.Groups;

/// <summary>Who may use the DMA of a group with several devices: two edus and the bridge or port above them.</summary>
public sealed class OwnershipTests : IDisposable
{
    private readonly TestHost _t = new();

    public void Dispose() => _t.Dispose();

    private int OpenGroup(string device) => _t.Open($"/dev/vfio/{_t.GroupOf(device)}");

    private unsafe uint Status(int group)
    {
        vfio_group_status status = new() { argsz = (uint)sizeof(vfio_group_status) };
        TestHost.Succeeds(_t.Ioctl(group, VFIO_GROUP_GET_STATUS, ref status), "GET_STATUS");
        return status.flags;
    }

    [Fact]
    public void A_bus_behind_a_bridge_to_conventional_PCI_is_one_group_with_the_bridge_but_an_SMMUv3_takes_one_device_of_it()
    {
        Assert.Equal(_t.GroupOf(_t.Bridge), _t.GroupOf(_t.Conventional));
        Assert.Equal(!_t.IsSmmu, _t.Exists(TestHost.Path(_t.SecondConventional, "iommu_group")));
        Assert.Equal(_t.IsSmmu ? 2 : 3, _t.Host.Sysfs.List($"/sys/kernel/iommu_groups/{_t.GroupOf(_t.Bridge)}/devices", out _));
    }

    [Fact]
    public void The_devices_below_a_port_that_does_not_keep_them_apart_are_one_group_with_the_port()
    {
        Assert.Equal(_t.GroupOf(_t.PairPort), _t.GroupOf(_t.PairA));
        Assert.Equal(_t.GroupOf(_t.PairPort), _t.GroupOf(_t.PairB));
        Assert.Equal(3, _t.Host.Sysfs.List($"/sys/kernel/iommu_groups/{_t.GroupOf(_t.PairA)}/devices", out _));
    }

    [Fact]
    public void The_functions_of_a_device_without_ACS_are_one_group()
    {
        TestHost.Need(_t.Exists(TestHost.Path("0000:00:1f.2", "vendor")), "the machine lacks the functions of 00:1f");
        Assert.Equal(_t.GroupOf("0000:00:1f.0"), _t.GroupOf("0000:00:1f.2"));
        Assert.Equal(_t.GroupOf("0000:00:1f.0"), _t.GroupOf("0000:00:1f.3"));
    }

    [Fact]
    public void A_device_below_a_port_with_ACS_has_a_group_of_its_own() => Assert.NotEqual(_t.GroupOf(_t.RootPort), _t.GroupOf(_t.Nic));

    [Fact]
    public void Members_without_a_driver_do_not_stand_in_the_way()
    {
        _t.Unbind(_t.PairB);
        _t.Bind(_t.OpenDevice(_t.PairA), _t.OpenIommu());
    }

    [Fact]
    public void A_member_on_pci_stub_does_not_stand_in_the_way()
    {
        _t.BindTo(_t.PairB, "pci-stub");
        _t.Bind(_t.OpenDevice(_t.PairA), _t.OpenIommu());
    }

    [Fact]
    public void Two_members_bind_to_one_iommufd()
    {
        int iommufd = _t.OpenIommu();
        Assert.NotEqual(_t.Bind(_t.OpenDevice(_t.PairA), iommufd), _t.Bind(_t.OpenDevice(_t.PairB), iommufd));
    }

    [Fact]
    public void A_member_in_another_iommufd_is_EPERM_until_the_first_is_closed()
    {
        int first = _t.OpenDevice(_t.PairA), second = _t.OpenDevice(_t.PairB), other = _t.OpenIommu();
        _t.Bind(first, _t.OpenIommu());
        TestHost.Fails(EPERM, _t.TryBind(second, other));
        _t.Close(first);
        _t.Bind(second, other);
    }

    [Fact]
    public void Members_attach_to_the_same_address_space_only()
    {
        int first = _t.OpenDevice(_t.PairA), second = _t.OpenDevice(_t.PairB), iommufd = _t.OpenIommu();
        _t.Bind(first, iommufd);
        _t.Bind(second, iommufd);
        int ioas = _t.AllocIoas(iommufd), other = _t.AllocIoas(iommufd);
        int table = _t.Attach(first, ioas);
        TestHost.Fails(EINVAL, _t.TryAttach(second, other));
        Assert.Equal(table, _t.Attach(second, ioas));
    }

    [Fact]
    public void Replacing_what_one_member_has_moves_the_whole_group()
    {
        int first = _t.OpenDevice(_t.PairA), second = _t.OpenDevice(_t.PairB), iommufd = _t.OpenIommu();
        _t.Bind(first, iommufd);
        _t.Bind(second, iommufd);
        int ioas = _t.AllocIoas(iommufd), other = _t.AllocIoas(iommufd);
        _t.Attach(first, ioas);
        _t.Attach(second, ioas);
        int table = _t.Attach(first, other);
        Assert.Equal(table, _t.Attach(second, other));
    }

    [Fact]
    public void While_a_member_is_bound_to_an_iommufd_a_DMA_driver_cannot_have_another_one()
    {
        TestHost.Need(_t.Exists("/sys/bus/pci/drivers/nvme/new_id"), "the machine lacks the nvme driver");
        _t.Unbind(_t.PairB);
        int device = _t.OpenDevice(_t.PairA);
        _t.Bind(device, _t.OpenIommu());
        TestHost.Succeeds(_t.Write(TestHost.Path(_t.PairB, "driver_override"), "nvme"), "driver_override");
        TestHost.Fails(EBUSY, _t.Write("/sys/bus/pci/drivers/nvme/bind", _t.PairB));
        TestHost.Fails(EINVAL, _t.Write("/sys/bus/pci/drivers_probe", _t.PairB));
        Assert.Null(_t.DriverOf(_t.PairB));
    }

    [Fact]
    public void An_open_group_keeps_the_cdev_from_being_bound()
    {
        _t.BindVfio(_t.Single);
        int group = OpenGroup(_t.Single);
        int device = _t.Open(_t.CdevOf(_t.Single));
        TestHost.Fails(EBUSY, _t.TryBind(device, _t.OpenIommu()));
        _t.Close(group);
        _t.Bind(device, _t.OpenIommu());
    }

    [Fact]
    public void A_bound_cdev_keeps_the_group_from_being_opened()
    {
        int device = _t.OpenDevice(_t.Single);
        Assert.True(_t.Kernel.Open($"/dev/vfio/{_t.GroupOf(_t.Single)}", Libc.O_RDWR | Libc.O_CLOEXEC, 0) is int open and >= 0
            && _t.Kernel.Close(open) == 0);
        _t.Bind(device, _t.OpenIommu());
        TestHost.Fails(EBUSY, _t.Kernel.Open($"/dev/vfio/{_t.GroupOf(_t.Single)}", Libc.O_RDWR | Libc.O_CLOEXEC, 0));
        _t.Close(device);
        OpenGroup(_t.Single);
    }

    [Fact]
    public void A_group_is_opened_once()
    {
        _t.BindVfio(_t.Single);
        OpenGroup(_t.Single);
        TestHost.Fails(EBUSY, _t.Kernel.Open($"/dev/vfio/{_t.GroupOf(_t.Single)}", Libc.O_RDWR | Libc.O_CLOEXEC, 0));
    }

    [Fact]
    public void A_group_whose_DMA_nobody_uses_is_viable()
    {
        _t.BindVfio(_t.PairA);
        Assert.Equal(VFIO_GROUP_FLAGS_VIABLE, Status(OpenGroup(_t.PairA)));
    }

    [Fact]
    public void Group_status_below_its_size_is_EINVAL()
    {
        _t.BindVfio(_t.Single);
        vfio_group_status status = new() { argsz = 7 };
        TestHost.Fails(EINVAL, _t.Ioctl(OpenGroup(_t.Single), VFIO_GROUP_GET_STATUS, ref status));
    }

    [Fact]
    public unsafe void A_device_of_a_group_without_container_is_EINVAL()
    {
        _t.BindVfio(_t.Single);
        int group = OpenGroup(_t.Single);
        byte[] name = System.Text.Encoding.ASCII.GetBytes(_t.Single + "\0");
        TestHost.Fails(EINVAL, _t.Ioctl(group, VFIO_GROUP_GET_DEVICE_FD, name));
        TestHost.Fails(ENODEV, _t.Ioctl(group, VFIO_GROUP_GET_DEVICE_FD, "0000:00:99.0\0"u8.ToArray()));
        TestHost.Fails(EINVAL, _t.Kernel.Ioctl(group, VFIO_GROUP_UNSET_CONTAINER, 0));
        TestHost.Fails(ENOTTY, _t.Kernel.Ioctl(group, VFIO_DEVICE_GET_INFO, 0));
    }

    [Fact]
    public void A_container_that_is_no_container_is_EBADFD_and_a_closed_one_EBADF()
    {
        _t.BindVfio(_t.Single);
        int group = OpenGroup(_t.Single), eventfd = _t.EventFd();
        TestHost.Fails(EBADFD, _t.Ioctl(group, VFIO_GROUP_SET_CONTAINER, ref eventfd));
        int closed = eventfd;
        _t.Close(eventfd);
        TestHost.Fails(EBADF, _t.Ioctl(group, VFIO_GROUP_SET_CONTAINER, ref closed));
        TestHost.Fails(EFAULT, _t.Kernel.Ioctl(group, VFIO_GROUP_SET_CONTAINER, 0x1000));
    }

    [Fact]
    public void An_iommufd_serves_as_container()
    {
        _t.BindVfio(_t.Single);
        int group = OpenGroup(_t.Single), iommufd = _t.OpenIommu();
        TestHost.Succeeds(_t.Ioctl(group, VFIO_GROUP_SET_CONTAINER, ref iommufd), "SET_CONTAINER");
        Assert.Equal(VFIO_GROUP_FLAGS_VIABLE | VFIO_GROUP_FLAGS_CONTAINER_SET, Status(group));
        TestHost.Fails(EINVAL, _t.Ioctl(group, VFIO_GROUP_SET_CONTAINER, ref iommufd));
        int device = _t.Keep(TestHost.Succeeds(_t.Ioctl(group, VFIO_GROUP_GET_DEVICE_FD, System.Text.Encoding.ASCII.GetBytes(_t.Single + "\0")),
            "GET_DEVICE_FD"));
        Assert.Equal(9u, _t.Info(device).num_regions);
        TestHost.Fails(EINVAL, _t.TryBind(device, iommufd));
        TestHost.Fails(ENOTTY, _t.TryDetach(device));
        _t.Close(device);
        TestHost.Succeeds(_t.Kernel.Ioctl(group, VFIO_GROUP_UNSET_CONTAINER, 0), "UNSET_CONTAINER");
        Assert.Equal(VFIO_GROUP_FLAGS_VIABLE, Status(group));
    }

    [Fact]
    public void Unbinding_waits_until_the_user_lets_go()
    {
        int device = _t.OpenDevice(_t.Single), request = _t.EventFd();
        _t.Bind(device, _t.OpenIommu());
        TestHost.Succeeds(
            _t.SetIrqs(device, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, VFIO_PCI_REQ_IRQ_INDEX, 0, 1, request), "SET_IRQS");
        int result = 1;
        var unbind = new Thread(() => result = _t.Write("/sys/bus/pci/drivers/vfio-pci/unbind", _t.Single)) { IsBackground = true };
        unbind.Start();
        Assert.Equal(1u, _t.Take(request));
        Assert.False(unbind.Join(50));
        Assert.False(_t.Exists(TestHost.Path(_t.Single, "vfio-dev")));
        Assert.Equal(9u, _t.Info(device).num_regions);
        _t.Close(device);
        Assert.True(unbind.Join(10000));
        Assert.Equal(0, result);
        Assert.Null(_t.DriverOf(_t.Single));
    }

    [Fact]
    public void Removing_a_device_that_is_mapped_waits_until_the_user_lets_go()
    {
        int device = _t.OpenDevice(_t.PairB), request = _t.EventFd(), iommufd = _t.OpenIommu();
        string address = _t.PairB;
        _t.Bind(device, iommufd);
        int ioas = _t.AllocIoas(iommufd);
        _t.Attach(device, ioas);
        nint memory = _t.Pages(1);
        _t.Map(iommufd, ioas, memory, 0x1000, 0x10000000);
        TestHost.Succeeds(
            _t.SetIrqs(device, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, VFIO_PCI_REQ_IRQ_INDEX, 0, 1, request), "SET_IRQS");
        int result = 1;
        var remove = new Thread(() => result = _t.Write(TestHost.Path(address, "remove"), "1")) { IsBackground = true };
        remove.Start();
        Assert.Equal(1u, _t.Take(request));
        Assert.False(remove.Join(50));

        // What is open works on.
        Assert.Equal(0x1234u, (uint)_t.ReadRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, 0, 2));
        TestHost.Succeeds(_t.TryUnmap(iommufd, ioas, 0x10000000, 0x1000), "IOAS_UNMAP");
        _t.Map(iommufd, ioas, memory, 0x1000, 0x10000000);
        TestHost.Succeeds(_t.TryDetach(device), "DETACH");
        _t.Attach(device, ioas);
        _t.Close(device);
        Assert.True(remove.Join(30000));
        Assert.Equal(0, result);
        Assert.False(_t.Exists(TestHost.Path(address, "vendor")));

        // The space has outlived it, and the device comes back as it was at boot.
        TestHost.Succeeds(_t.TryUnmap(iommufd, ioas, 0x10000000, 0x1000), "IOAS_UNMAP");
        TestHost.Succeeds(_t.Write("/sys/bus/pci/rescan", "1"), "rescan");
        Assert.True(_t.Exists(TestHost.Path(address, "vendor")));
        Assert.Null(_t.DriverOf(address));
        Assert.True(_t.Exists(TestHost.Path(address, "iommu_group")));
    }

    [Fact]
    public void The_bus_of_the_pair_can_be_reset_by_whoever_owns_all_of_it()
    {
        int first = _t.OpenDevice(_t.PairA), second = _t.OpenDevice(_t.PairB), iommufd = _t.OpenIommu();
        _t.Bind(first, iommufd);
        vfio_pci_hot_reset reset = new() { argsz = 12 };
        TestHost.Succeeds(_t.Ioctl(first, VFIO_DEVICE_PCI_HOT_RESET, ref reset), "the other member is in the same group");
        _t.Bind(second, iommufd);
        TestHost.Succeeds(_t.Ioctl(first, VFIO_DEVICE_PCI_HOT_RESET, ref reset), "PCI_HOT_RESET");
    }

    [Fact]
    public void The_bus_cannot_be_reset_while_a_device_on_it_is_not_vfio_pcis()
    {
        _t.Unbind(_t.PairB);
        int first = _t.OpenDevice(_t.PairA);
        _t.Bind(first, _t.OpenIommu());
        vfio_pci_hot_reset reset = new() { argsz = 12 };
        TestHost.Fails(EINVAL, _t.Ioctl(first, VFIO_DEVICE_PCI_HOT_RESET, ref reset));
    }

    [Fact]
    public void There_is_no_bus_reset_on_the_root_bus()
    {
        int device = _t.OpenDevice(_t.Single);
        _t.Bind(device, _t.OpenIommu());
        vfio_pci_hot_reset reset = new() { argsz = 12 };
        TestHost.Fails(ENODEV, _t.Ioctl(device, VFIO_DEVICE_PCI_HOT_RESET, ref reset));
        byte[] info = new byte[128];
        BitConverter.TryWriteBytes(info, 128);
        TestHost.Fails(ENODEV, _t.Ioctl(device, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, info));
    }

    [Fact]
    public unsafe void Hot_reset_info_lists_who_is_affected()
    {
        int first = _t.OpenDevice(_t.PairA), second = _t.OpenDevice(_t.PairB), iommufd = _t.OpenIommu();
        int id = _t.Bind(first, iommufd);
        byte[] info = new byte[12 + (2 * 8)];
        BitConverter.TryWriteBytes(info, 12);
        TestHost.Fails(ENOSPC, _t.Ioctl(first, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, info));
        Assert.Equal(2, BitConverter.ToInt32(info, 8));
        BitConverter.TryWriteBytes(info, info.Length);
        TestHost.Succeeds(_t.Ioctl(first, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, info), "GET_PCI_HOT_RESET_INFO");
        Assert.Equal(VFIO_PCI_HOT_RESET_FLAG_DEV_ID | VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED, BitConverter.ToUInt32(info, 4));
        Assert.Equal(id, BitConverter.ToInt32(info, 12));
        Assert.Equal(VFIO_PCI_DEVID_OWNED, BitConverter.ToUInt32(info, 20));
        Assert.Equal(PciAddress.Parse(_t.PairA).RequesterId, (info[18] << 8) | info[19]);
        int otherId = _t.Bind(second, iommufd);
        TestHost.Succeeds(_t.Ioctl(first, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, info), "GET_PCI_HOT_RESET_INFO");
        Assert.Equal(otherId, BitConverter.ToInt32(info, 20));
    }
}
