using System.Text;
using IommuFd.Native;
using IommuFd.Native.Uapi;
using Xunit;
using static IommuFd.Native.Errno;
using static IommuFd.Native.Uapi.Vfio;

namespace Conformance.Vfio;

/// <summary>
/// Devices without an IOMMU in VFIO's unsafe mode: the real machine boots with its IOMMU off (mode off), the simulator's topology is no-iommu. The
/// mode is switched on and off by each case.
/// </summary>
public sealed unsafe class NoIommuTests : IDisposable
{
    private const string Mode = "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode";
    private readonly TestHost _t = new();

    public NoIommuTests()
    {
        if (_t.Exists(TestHost.Path(_t.Single, "iommu_group")))
        {
            _t.Dispose();
            Assert.Skip("the machine has an IOMMU that is on");
        }
    }

    public void Dispose()
    {
        // First the device is given back: unbinding waits until it is closed.
        _t.Dispose();
        _ = _t.IsKernel ? _t.Write(Mode, "N") : 0;
    }

    [Fact]
    public void A_device_has_no_group() => Assert.False(_t.Exists(TestHost.Path(_t.Single, "iommu_group")));

    [Fact]
    public void With_the_mode_off_vfio_pci_does_not_take_a_device()
    {
        _ = _t.Write(Mode, "N");
        _t.Unbind(_t.Single);
        TestHost.Succeeds(_t.Write(TestHost.Path(_t.Single, "driver_override"), "vfio-pci"), "driver_override");
        _ = _t.Write("/sys/bus/pci/drivers_probe", _t.Single);
        Assert.Null(_t.DriverOf(_t.Single));
    }

    [Fact]
    public void The_nodes_say_what_they_are()
    {
        Bind();
        string group = $"/sys/kernel/iommu_groups/{_t.GroupOf(_t.Single)}";
        Assert.Equal("vfio-noiommu", _t.Read(group + "/name"));
        Assert.True(_t.Exists($"/dev/vfio/noiommu-{_t.GroupOf(_t.Single)}"));
        Assert.False(_t.Exists($"/dev/vfio/{_t.GroupOf(_t.Single)}"));
        TestHost.Succeeds(_t.Sysfs.List(TestHost.Path(_t.Single, "vfio-dev"), out string[] names), "vfio-dev");
        Assert.StartsWith("noiommu-vfio", Assert.Single(names), StringComparison.Ordinal);
    }

    [Fact]
    public void The_group_goes_with_the_driver()
    {
        Bind();
        int group = _t.GroupOf(_t.Single);
        _t.Unbind(_t.Single);
        Assert.False(_t.Exists($"/sys/kernel/iommu_groups/{group}"));
        Assert.False(_t.Exists($"/dev/vfio/noiommu-{group}"));
        Assert.False(_t.Exists(TestHost.Path(_t.Single, "iommu_group")));
    }

    [Fact]
    public void A_container_of_such_a_group_has_the_one_kind_and_maps_nothing()
    {
        (int container, int group) = Joined();
        Assert.Equal(1, _t.Kernel.Ioctl(container, VFIO_CHECK_EXTENSION, (nint)VFIO_NOIOMMU_IOMMU));
        Assert.Equal(0, _t.Kernel.Ioctl(container, VFIO_CHECK_EXTENSION, (nint)VFIO_TYPE1_IOMMU));
        Assert.Equal(0, _t.Kernel.Ioctl(container, VFIO_CHECK_EXTENSION, (nint)VFIO_TYPE1v2_IOMMU));
        TestHost.Fails(ENODEV, _t.Kernel.Ioctl(container, VFIO_SET_IOMMU, (nint)VFIO_TYPE1_IOMMU));
        TestHost.Succeeds(_t.Kernel.Ioctl(container, VFIO_SET_IOMMU, (nint)VFIO_NOIOMMU_IOMMU), "SET_IOMMU");
        Assert.Equal(1, _t.Kernel.Ioctl(container, VFIO_CHECK_EXTENSION, (nint)VFIO_NOIOMMU_IOMMU));
        vfio_iommu_type1_dma_map map = new() { argsz = 32, flags = 3, vaddr = (ulong)_t.Pages(1), iova = 0x100000, size = 0x1000 };
        TestHost.Fails(ENOTTY, _t.Ioctl(container, VFIO_IOMMU_MAP_DMA, ref map));
        byte[] info = new byte[64];
        info[0] = 64;
        TestHost.Fails(ENOTTY, _t.Ioctl(container, VFIO_IOMMU_GET_INFO, info));
        int device =
            _t.Keep(TestHost.Succeeds(_t.Ioctl(group, VFIO_GROUP_GET_DEVICE_FD, Encoding.ASCII.GetBytes(_t.Single + "\0")), "GET_DEVICE_FD"));
        Assert.Equal(9u, _t.Info(device).num_regions);
        Assert.Equal(0x11e8_1234UL, _t.ReadRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, 0, 4));
    }

    [Fact]
    public void The_group_is_viable_and_has_its_container()
    {
        (_, int group) = Joined();
        vfio_group_status status = new() { argsz = 8 };
        TestHost.Succeeds(_t.Ioctl(group, VFIO_GROUP_GET_STATUS, ref status), "GET_STATUS");
        Assert.Equal(VFIO_GROUP_FLAGS_VIABLE | VFIO_GROUP_FLAGS_CONTAINER_SET, status.flags);
    }

    [Fact]
    public void A_container_without_groups_offers_all_kinds()
    {
        Bind();
        int container = _t.Open("/dev/vfio/vfio");
        Assert.Equal(1, _t.Kernel.Ioctl(container, VFIO_CHECK_EXTENSION, (nint)VFIO_TYPE1v2_IOMMU));
        int noiommu = _t.Kernel.Ioctl(container, VFIO_CHECK_EXTENSION, (nint)VFIO_NOIOMMU_IOMMU);
        Assert.Equal(1, noiommu);
    }

    [Fact]
    public void Iommufd_takes_the_device_through_its_node()
    {
        (int device, int iommufd, uint id) = Bound();
        Assert.NotEqual(0u, id);
        iommu_hw_info info = new() { size = (uint)sizeof(iommu_hw_info), dev_id = id };
        TestHost.Fails(EOPNOTSUPP, _t.Ioctl(iommufd, Iommufd.IOMMU_GET_HW_INFO, ref info));
        Assert.Equal(9u, _t.Info(device).num_regions);
    }

    [Fact]
    public void An_attached_space_tells_physical_addresses()
    {
        (int device, int iommufd, _) = Bound();
        int ioas = _t.AllocIoas(iommufd);
        int table = _t.Attach(device, ioas);
        Assert.NotEqual(ioas, table);
        nint memory = _t.Pages(4);
        _t.Map(iommufd, ioas, memory, 0x4000, 0x100000);
        Assert.Equal(0, Phys(iommufd, ioas, 0x100000, 0x4000, out ulong physical, out ulong length));
        Assert.Equal(0UL, physical % 4096);
        Assert.InRange(length, 0x1000UL, 0x4000UL);
        Assert.Equal(0, Phys(iommufd, ioas, 0x100010, 0x10, out ulong inside, out length));
        Assert.Equal(physical + 0x10, inside);
        TestHost.Fails(ENOENT, Phys(iommufd, ioas, 0x200000, 0x1000, out _, out _));
        TestHost.Succeeds(_t.TryUnmap(iommufd, ioas, 0x100000, 0x4000), "IOAS_UNMAP");
        TestHost.Fails(ENOENT, Phys(iommufd, ioas, 0x100000, 0x1000, out _, out _));
    }

    [Theory]
    [InlineData(1u, 0x1000ul, 0x100000ul, EOPNOTSUPP)]
    [InlineData(0u, 0ul, 0x100000ul, EINVAL)]
    [InlineData(0u, 0x1000ul, ulong.MaxValue, EOVERFLOW)]
    public void Physical_addresses_are_not_told_for(uint flags, ulong length, ulong iova, int errno)
    {
        (int device, int iommufd, _) = Bound();
        int ioas = _t.AllocIoas(iommufd);
        _t.Attach(device, ioas);
        iommu_ioas_noiommu_get_pa cmd =
            new() { size = (uint)sizeof(iommu_ioas_noiommu_get_pa), flags = flags, ioas_id = (uint)ioas, iova = iova, length = length };
        TestHost.Fails(errno, _t.Ioctl(iommufd, Iommufd.IOMMU_IOAS_NOIOMMU_GET_PA, ref cmd));
    }

    [Fact]
    public void Attaching_reserves_nothing_and_detaching_works()
    {
        (int device, int iommufd, _) = Bound();
        int ioas = _t.AllocIoas(iommufd);
        int first = _t.Attach(device, ioas);
        Assert.Equal(first, _t.Attach(device, ioas));
        int second = _t.Attach(device, _t.AllocIoas(iommufd));
        Assert.NotEqual(first, second);
        Assert.Equal(0, _t.TryDetach(device));
        Assert.Equal(0, _t.TryDetach(device));
        _t.Attach(device, ioas);
    }

    [Theory]
    [InlineData(0u, 0)]
    [InlineData(1u, EOPNOTSUPP)]
    [InlineData(2u, EOPNOTSUPP)]
    [InlineData(8u, EOPNOTSUPP)]
    public void Flags_of_a_table_without_an_IOMMU(uint flags, int errno)
    {
        (_, int iommufd, uint id) = Bound();
        iommu_hwpt_alloc cmd = new() { size = (uint)sizeof(iommu_hwpt_alloc), flags = flags, dev_id = id, pt_id = (uint)_t.AllocIoas(iommufd) };
        Assert.Equal(-errno, _t.Ioctl(iommufd, Iommufd.IOMMU_HWPT_ALLOC, ref cmd));
    }

    private void Bind()
    {
        TestHost.Succeeds(_t.Write(Mode, "Y"), "enable_unsafe_noiommu_mode");
        _t.Unbind(_t.Single);
        _t.BindVfio(_t.Single);
    }

    private (int Container, int Group) Joined()
    {
        Bind();
        int container = _t.Open("/dev/vfio/vfio"), group = _t.Open($"/dev/vfio/noiommu-{_t.GroupOf(_t.Single)}");
        TestHost.Succeeds(_t.Ioctl(group, VFIO_GROUP_SET_CONTAINER, ref container), "SET_CONTAINER");
        return (container, group);
    }

    private (int Device, int Iommufd, uint Id) Bound()
    {
        Bind();
        int device = _t.Open(_t.CdevOf(_t.Single)), iommufd = _t.OpenIommu();
        return (device, iommufd, (uint)_t.Bind(device, iommufd));
    }

    private int Phys(int iommufd, int ioas, ulong iova, ulong length, out ulong physical, out ulong got)
    {
        iommu_ioas_noiommu_get_pa cmd = new() { size = (uint)sizeof(iommu_ioas_noiommu_get_pa), ioas_id = (uint)ioas, iova = iova, length = length };
        int result = _t.Ioctl(iommufd, Iommufd.IOMMU_IOAS_NOIOMMU_GET_PA, ref cmd);
        (physical, got) = (cmd.out_phys, cmd.length);
        return result;
    }
}
