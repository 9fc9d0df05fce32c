using IommuFd.Native;
using IommuFd.Native.Uapi;
using Xunit;
using static IommuFd.Native.Errno;
using static IommuFd.Native.Uapi.Vfio;

namespace Conformance.Vfio;

/// <summary>Mediated devices: the kernel's sample mtty, whose driver reaches memory through the address space and not through an IOMMU.</summary>
public sealed unsafe class MdevTests : IDisposable
{
    private const string Types = "/sys/class/mdev_bus/mtty/mdev_supported_types";
    private const uint Get = VFIO_DEVICE_FEATURE_GET, Set = VFIO_DEVICE_FEATURE_SET;
    private const uint Stopped = 1, Running = 2, StopCopy = 3;
    private readonly TestHost _t = new();
    private readonly List<string> _made = [];

    public void Dispose()
    {
        _t.Dispose();
        foreach (string name in _made)
        {
            _ = _t.Write($"/sys/bus/mdev/devices/{name}/remove", "1");
        }
    }

    private string Make(string type = "mtty-2")
    {
        TestHost.Need(_t.Exists(Types), "the kernel has no mtty");
        string name = Guid.NewGuid().ToString("D");
        TestHost.Succeeds(_t.Write($"{Types}/{type}/create", name), "create");
        _made.Add(name);
        return name;
    }

    private int Open(string name)
    {
        TestHost.Succeeds(_t.Sysfs.List($"/sys/bus/mdev/devices/{name}/vfio-dev", out string[] names), "vfio-dev");
        return _t.Open($"/dev/vfio/devices/{Assert.Single(names)}");
    }

    private (int Device, int Iommufd, uint Id) Bound()
    {
        int device = Open(Make()), iommufd = _t.OpenIommu();
        return (device, iommufd, (uint)_t.Bind(device, iommufd));
    }

    private int Feature(int device, uint flags, Span<byte> payload)
    {
        byte[] argument = new byte[8 + payload.Length];
        BitConverter.TryWriteBytes(argument, argument.Length);
        BitConverter.TryWriteBytes(argument.AsSpan(4), flags);
        payload.CopyTo(argument.AsSpan(8));
        int result = _t.Ioctl(device, VFIO_DEVICE_FEATURE, argument);
        argument.AsSpan(8).CopyTo(payload);
        return result;
    }

    // The descriptor of the data, or -1 where the change makes none.
    private int Change(int device, uint state, out int data)
    {
        Span<byte> payload = stackalloc byte[8];
        BitConverter.TryWriteBytes(payload, state);
        BitConverter.TryWriteBytes(payload[4..], -1);
        int result = Feature(device, VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE | Set, payload);
        data = BitConverter.ToInt32(payload[4..]);
        if (result == 0 && data >= 0)
        {
            _t.Keep(data);
        }

        return result;
    }

    [Fact]
    public void Create_makes_a_device_with_a_group_and_a_node()
    {
        string at = $"/sys/bus/mdev/devices/{Make()}";
        Assert.True(_t.Exists($"{at}/iommu_group"));
        Assert.True(_t.Exists($"{at}/mdev_type"));
        TestHost.Succeeds(_t.Sysfs.List($"{at}/vfio-dev", out string[] names), "vfio-dev");
        Assert.True(_t.Exists($"/dev/vfio/devices/{Assert.Single(names)}"));
    }

    [Fact]
    public void Create_of_a_name_that_is_taken_is_EEXIST() =>
        TestHost.Fails(EEXIST, _t.Write($"{Types}/mtty-1/create", Make()));

    [Theory]
    [InlineData("not-a-uuid")]
    [InlineData("83b8f4f2-509f-382f-3c1e-e6bfe0fa100100")]
    public void Create_of_what_is_no_UUID_is_EINVAL(string name)
    {
        TestHost.Need(_t.Exists(Types), "the kernel has no mtty");
        TestHost.Fails(EINVAL, _t.Write($"{Types}/mtty-1/create", name));
    }

    [Fact]
    public void Available_instances_count_down()
    {
        TestHost.Need(_t.Exists(Types), "the kernel has no mtty");
        int before = int.Parse(_t.Read($"{Types}/mtty-1/available_instances"), System.Globalization.CultureInfo.InvariantCulture);
        Make("mtty-2");
        Assert.Equal(before - 2, int.Parse(_t.Read($"{Types}/mtty-1/available_instances"), System.Globalization.CultureInfo.InvariantCulture));
    }

    [Fact]
    public void Nothing_works_before_bind()
    {
        int device = Open(Make());
        vfio_device_info info = new() { argsz = (uint)sizeof(vfio_device_info) };
        TestHost.Fails(EINVAL, _t.Ioctl(device, VFIO_DEVICE_GET_INFO, ref info));
    }

    [Fact]
    public void Attach_gives_back_the_address_space_itself()
    {
        (int device, int iommufd, _) = Bound();
        int ioas = _t.AllocIoas(iommufd);
        Assert.Equal(ioas, _t.Attach(device, ioas));
    }

    [Fact]
    public void An_address_space_that_is_attached_cannot_be_destroyed()
    {
        (int device, int iommufd, _) = Bound();
        int ioas = _t.AllocIoas(iommufd);
        _t.Attach(device, ioas);
        iommu_destroy destroy = new() { size = (uint)sizeof(iommu_destroy), id = (uint)ioas };
        TestHost.Fails(EBUSY, _t.Ioctl(iommufd, Iommufd.IOMMU_DESTROY, ref destroy));
    }

    [Fact]
    public void The_interrupt_window_is_not_reserved()
    {
        (int device, int iommufd, _) = Bound();
        int ioas = _t.AllocIoas(iommufd);
        _t.Attach(device, ioas);
        _t.Map(iommufd, ioas, _t.Pages(1), 4096, 0xfee00000);
    }

    [Fact]
    public void It_has_no_hardware_to_ask_about()
    {
        (_, int iommufd, uint id) = Bound();
        iommu_hw_info info = new() { size = (uint)sizeof(iommu_hw_info), dev_id = id };
        TestHost.Fails(ENOENT, _t.Ioctl(iommufd, Iommufd.IOMMU_GET_HW_INFO, ref info));
    }

    [Fact]
    public void No_page_table_is_made_for_it()
    {
        (_, int iommufd, uint id) = Bound();
        iommu_hwpt_alloc alloc = new() { size = (uint)sizeof(iommu_hwpt_alloc), dev_id = id, pt_id = (uint)_t.AllocIoas(iommufd) };
        TestHost.Fails(ENOENT, _t.Ioctl(iommufd, Iommufd.IOMMU_HWPT_ALLOC, ref alloc));
    }

    [Fact]
    public void Info_describes_a_PCI_device()
    {
        (int device, _, _) = Bound();
        vfio_device_info info = _t.Info(device);
        Assert.Equal(VFIO_DEVICE_FLAGS_PCI, info.flags & VFIO_DEVICE_FLAGS_PCI);
        Assert.Equal((uint)VFIO_PCI_NUM_REGIONS, info.num_regions);
        Assert.Equal((uint)VFIO_PCI_NUM_IRQS, info.num_irqs);
        Assert.Equal(0x32534348u, (uint)_t.ReadRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, 0, 4));
    }

    [Fact]
    public void The_scratch_register_of_the_port_keeps_what_is_written()
    {
        (int device, _, _) = Bound();
        Assert.Equal(1, _t.WriteRegion(device, 0, 7, 1, 0x5a));
        Assert.Equal(0x5aUL, _t.ReadRegion(device, 0, 7, 1));
    }

    [Fact]
    public void It_can_migrate_with_stop_copy_and_precopy()
    {
        (int device, _, _) = Bound();
        Span<byte> flags = stackalloc byte[8];
        Assert.Equal(0, Feature(device, VFIO_DEVICE_FEATURE_MIGRATION | Get, flags));
        Assert.Equal(VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_P2P | VFIO_MIGRATION_PRE_COPY, BitConverter.ToUInt64(flags));
    }

    [Fact]
    public void State_moves_from_one_device_to_another()
    {
        (int source, _, _) = Bound();
        (int target, _, _) = Bound();
        Assert.Equal(1, _t.WriteRegion(source, 0, 7, 1, 0xc3));
        Assert.Equal(0, Change(source, Stopped, out _));
        Assert.Equal(0, Change(source, StopCopy, out int saving));
        byte[] state = new byte[4096];
        int length = 0;
        fixed (byte* pointer = state)
        {
            for (nint read; (read = _t.Kernel.Read(saving, (nint)(pointer + length), (nuint)(state.Length - length))) != 0; length += (int)read)
            {
                Assert.True(read > 0);
            }

            Assert.Equal(0, Change(target, Stopped, out _));
            Assert.Equal(0, Change(target, 4, out int resuming));
            Assert.Equal(length, _t.Kernel.Write(resuming, (nint)pointer, (nuint)length));
        }

        Assert.Equal(0, Change(target, Stopped, out _));
        Assert.Equal(0, Change(target, Running, out _));
        Assert.Equal(0xc3UL, _t.ReadRegion(target, 0, 7, 1));
    }

    [Fact]
    public void Remove_takes_the_device_and_its_node_away()
    {
        string name = Make();
        TestHost.Succeeds(_t.Write($"/sys/bus/mdev/devices/{name}/remove", "1"), "remove");
        _made.Remove(name);
        Assert.False(_t.Exists($"/sys/bus/mdev/devices/{name}"));
    }
}
