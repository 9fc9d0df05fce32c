using Xunit;
using static IommuFd.Native.Errno;

namespace Conformance.Sysfs;

/// <summary>What writing to the files of the PCI bus and its drivers answers.</summary>
public sealed class DriverBindingTests : IDisposable
{
    private const string Bus = "/sys/bus/pci", Vfio = Bus + "/drivers/vfio-pci";
    private readonly TestHost _t = new();

    public void Dispose() => _t.Dispose();

    [Theory]
    [InlineData("vfio-pci", "vfio-pci")]
    [InlineData("vfio-pci\n", "vfio-pci")]
    [InlineData("two words\n", "two words")]
    [InlineData(" leading\n", " leading")]
    [InlineData("first\nsecond\n", "first")]
    [InlineData("\n", "(null)")]
    [InlineData("\0", "(null)")]
    public void Driver_override_keeps_the_first_line(string written, string read)
    {
        string path = TestHost.Path(_t.Single, "driver_override");
        TestHost.Succeeds(_t.Write(path, "something"), "write");
        TestHost.Succeeds(_t.Write(path, written), "write");
        Assert.Equal(read, _t.Read(path));
        TestHost.Succeeds(_t.Write(path, "\n"), "clear");
    }

    [Theory]
    [InlineData(4094, 0)]
    [InlineData(4095, EINVAL)]
    [InlineData(4096, EINVAL)]
    public void Driver_override_takes_less_than_a_page(int length, int errno)
    {
        string path = TestHost.Path(_t.Single, "driver_override");
        Assert.Equal(-errno, _t.Write(path, new string('x', length)));
        TestHost.Succeeds(_t.Write(path, "\n"), "clear");
    }

    [Fact]
    public void Bind_without_a_match_is_ENODEV()
    {
        TestHost.Fails(ENODEV, _t.Write(Vfio + "/bind", _t.Single));
        TestHost.Fails(ENODEV, _t.Write(Vfio + "/bind", "0000:00:99.0"));
        TestHost.Fails(ENODEV, _t.Write(Vfio + "/bind", " " + _t.Single));
        TestHost.Fails(ENODEV, _t.Write(Vfio + "/bind", "00:04.0"));
    }

    [Fact]
    public void Bind_of_a_bound_device_is_EBUSY()
    {
        _t.BindVfio(_t.Single);
        TestHost.Fails(EBUSY, _t.Write(Vfio + "/bind", _t.Single));
        TestHost.Fails(EBUSY, _t.Write(Vfio + "/bind", _t.Single + "\n"));
    }

    [Fact]
    public void Unbind_of_a_device_that_the_driver_does_not_have_is_ENODEV()
    {
        TestHost.Fails(ENODEV, _t.Write(Vfio + "/unbind", _t.Nvme));
        TestHost.Fails(ENODEV, _t.Write(Vfio + "/unbind", "0000:00:99.0"));
    }

    [Fact]
    public void Drivers_probe_of_a_device_that_is_not_there_is_ENODEV() => TestHost.Fails(ENODEV, _t.Write(Bus + "/drivers_probe", "0000:00:99.0"));

    [Fact]
    public void Drivers_probe_succeeds_even_when_nothing_binds()
    {
        TestHost.Succeeds(_t.Write(TestHost.Path(_t.Single, "driver_override"), "no-such-driver"), "driver_override");
        TestHost.Succeeds(_t.Write(Bus + "/drivers_probe", _t.Single), "drivers_probe");
        Assert.Null(_t.DriverOf(_t.Single));
        TestHost.Succeeds(_t.Write(TestHost.Path(_t.Single, "driver_override"), "\n"), "clear");
    }

    [Fact]
    public void Drivers_probe_of_a_bound_device_succeeds() =>
        TestHost.Succeeds(_t.Write(Bus + "/drivers_probe", _t.BindVfio(_t.Single)), "drivers_probe");

    [Fact]
    public void Vfio_pci_refuses_a_bridge_with_EINVAL()
    {
        string path = TestHost.Path(_t.Bridge, "driver_override");
        TestHost.Succeeds(_t.Write(path, "vfio-pci"), "driver_override");
        TestHost.Fails(EINVAL, _t.Write(Vfio + "/bind", _t.Bridge));
        TestHost.Succeeds(_t.Write(Bus + "/drivers_probe", _t.Bridge), "drivers_probe");
        Assert.Null(_t.DriverOf(_t.Bridge));
        TestHost.Succeeds(_t.Write(path, "\n"), "clear");
    }

    [Fact]
    public void Pcieport_has_the_root_port() => Assert.Equal("pcieport", _t.DriverOf(_t.RootPort));

    [Fact]
    public void Binding_makes_the_nodes_and_unbinding_takes_them_away()
    {
        _t.BindVfio(_t.Single);
        string cdev = _t.CdevOf(_t.Single);
        Assert.True(_t.Exists(cdev));
        Assert.True(_t.Exists($"/dev/vfio/{_t.GroupOf(_t.Single)}"));
        Assert.True(_t.Exists($"/sys/class/vfio/{_t.GroupOf(_t.Single)}"));
        _t.Unbind(_t.Single);
        Assert.False(_t.Exists(cdev));
        Assert.False(_t.Exists($"/dev/vfio/{_t.GroupOf(_t.Single)}"));
        Assert.False(_t.Exists(TestHost.Path(_t.Single, "vfio-dev")));
    }

    [Fact]
    public void The_host_driver_comes_back()
    {
        Assert.Equal("nvme", _t.DriverOf(_t.Nvme));
        _t.BindVfio(_t.Nvme);
        _t.Unbind(_t.Nvme);
        TestHost.Succeeds(_t.Write(TestHost.Path(_t.Nvme, "driver_override"), "\n"), "clear");
        TestHost.Succeeds(_t.Write(Bus + "/drivers_probe", _t.Nvme), "drivers_probe");
        Assert.Equal("nvme", _t.DriverOf(_t.Nvme));
    }

    [Fact]
    public void A_new_id_takes_every_device_that_looks_like_it()
    {
        _t.Unbind(_t.Single);
        _t.Unbind(_t.PairA);
        _t.Unbind(_t.PairB);
        _t.Unbind(_t.Conventional);
        TestHost.Succeeds(_t.Write(Vfio + "/new_id", "1234 11e8"), "new_id");
        Assert.Equal("vfio-pci", _t.DriverOf(_t.Single));
        Assert.Equal("vfio-pci", _t.DriverOf(_t.PairA));
        TestHost.Fails(EEXIST, _t.Write(Vfio + "/new_id", "1234 11e8"));
        TestHost.Succeeds(_t.Write(Vfio + "/remove_id", "1234 11e8"), "remove_id");
        TestHost.Fails(ENODEV, _t.Write(Vfio + "/remove_id", "1234 11e8"));
    }

    [Theory]
    [InlineData("1234")]
    [InlineData("")]
    [InlineData("vendor device")]
    [InlineData("1234 11e9 1 2 3 4 5")]
    public void A_new_id_that_is_none_is_EINVAL(string id) => TestHost.Fails(EINVAL, _t.Write(Vfio + "/new_id", id + "\n"));

    [Fact]
    public void A_new_id_that_the_driver_knows_already_is_EEXIST() =>
        TestHost.Fails(EEXIST, _t.Write(Bus + "/drivers/nvme/new_id", "1b36 0010 ffffffff ffffffff 010802 ffffff"));

    [Fact]
    public void Enable_counts_for_a_device_without_driver_only()
    {
        string enable = TestHost.Path(_t.Single, "enable");
        _t.Unbind(_t.Single);
        TestHost.Fails(EIO, _t.Write(enable, "0"));
        TestHost.Succeeds(_t.Write(enable, "1"), "enable");
        Assert.Equal("1", _t.Read(enable));
        TestHost.Succeeds(_t.Write(enable, "0"), "enable");
        TestHost.Fails(EINVAL, _t.Write(enable, "x"));
        _t.BindVfio(_t.Single);
        TestHost.Fails(EBUSY, _t.Write(enable, "1"));
    }

    [Fact]
    public void Reset_takes_a_1_only()
    {
        string reset = TestHost.Path(_t.Nic, "reset");
        _t.Unbind(_t.Nic);
        TestHost.Fails(EINVAL, _t.Write(reset, "0"));
        TestHost.Fails(EINVAL, _t.Write(reset, "x"));
        TestHost.Succeeds(_t.Write(reset, "1"), "reset");
        Assert.False(_t.Exists(TestHost.Path(_t.Single, "reset")));
    }

    [Fact]
    public void The_bus_reset_of_a_device_that_is_no_longer_alone_is_ENOTTY()
    {
        _t.Unbind(_t.PairA);
        TestHost.Need(_t.Exists(TestHost.Path(_t.PairA, "reset")), "the device was not alone when it was found");
        TestHost.Fails(ENOTTY, _t.Write(TestHost.Path(_t.PairA, "reset"), "1"));
    }

    [Fact]
    public void Reset_methods_can_be_chosen()
    {
        string methods = TestHost.Path(_t.Nic, "reset_method");
        Assert.Equal("flr pm bus", _t.Read(methods));
        TestHost.Succeeds(_t.Write(methods, "pm  bus"), "reset_method");
        Assert.Equal("pm bus", _t.Read(methods));
        TestHost.Fails(EINVAL, _t.Write(methods, "flr nothing"));
        Assert.Equal("pm bus", _t.Read(methods));
        TestHost.Succeeds(_t.Write(methods, "default"), "reset_method");
        Assert.Equal("flr pm bus", _t.Read(methods));
    }

    [Fact]
    public void Writing_a_file_that_cannot_be_written_is_EACCES()
    {
        TestHost.Fails(EACCES, _t.Write(TestHost.Path(_t.Single, "vendor"), "1"));
        TestHost.Fails(EACCES, _t.Sysfs.ReadText(Bus + "/drivers_probe", out _));
        TestHost.Fails(ENOENT, _t.Write(TestHost.Path(_t.Single, "no_such_file"), "1"));
        TestHost.Fails(EISDIR, _t.Write(Bus + "/devices", "1"));
        TestHost.Fails(ENOTDIR, _t.Sysfs.ReadText(TestHost.Path(_t.Single, "vendor/x"), out _));
    }

    [Fact]
    public void The_attributes_of_a_function()
    {
        Assert.Equal("0x1234", _t.Read(TestHost.Path(_t.Single, "vendor")));
        Assert.Equal("0x11e8", _t.Read(TestHost.Path(_t.Single, "device")));
        Assert.Equal("0x00ff00", _t.Read(TestHost.Path(_t.Single, "class")));
        Assert.Equal("0x10", _t.Read(TestHost.Path(_t.Single, "revision")));
        Assert.Equal("pci:v00001234d000011E8sv00001AF4sd00001100bc00scFFi00", _t.Read(TestHost.Path(_t.Single, "modalias")));
        Assert.Equal(13, _t.Read(TestHost.Path(_t.Single, "resource")).Split('\n').Length);
        Assert.Equal(17, _t.Read(TestHost.Path(_t.Bridge, "resource")).Split('\n').Length);
        Assert.Contains("PCI_SLOT_NAME=0000:00:04.0", _t.Read(TestHost.Path(_t.Single, "uevent")), StringComparison.Ordinal);
        Assert.Equal(256, _t.Sysfs.ReadBytes(TestHost.Path(_t.Single, "config"), out _));
        Assert.Equal(4096, _t.Sysfs.ReadBytes(TestHost.Path(_t.Nvme, "config"), out _));
    }

    [Fact]
    public void A_group_reports_its_reserved_ranges_and_its_type()
    {
        _t.NeedVtd();
        string group = $"/sys/kernel/iommu_groups/{_t.GroupOf(_t.Single)}";
        Assert.Equal("0x00000000fee00000 0x00000000feefffff msi", _t.Read(group + "/reserved_regions"));
        Assert.StartsWith("DMA", _t.Read(group + "/type"), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("x", EINVAL)]
    [InlineData("0", 0)]
    [InlineData("1", 0)]
    public void Rescan_takes_a_number(string text, int errno) => Assert.Equal(-errno, _t.Write(Bus + "/rescan", text));

    [Fact]
    public void A_removed_device_comes_back_with_a_rescan()
    {
        TestHost.Fails(EINVAL, _t.Write(TestHost.Path(_t.PairB, "remove"), "x"));
        string device = _t.PairB;
        TestHost.Succeeds(_t.Write(TestHost.Path(device, "remove"), "1"), "remove");
        Assert.False(_t.Exists(TestHost.Path(device, "vendor")));
        TestHost.Succeeds(_t.Write(Bus + "/rescan", "1"), "rescan");
        Assert.True(_t.Exists(TestHost.Path(device, "vendor")));
        Assert.Equal(_t.GroupOf(_t.PairA), _t.GroupOf(device));
    }

    [Theory]
    [InlineData("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode")]
    [InlineData("/sys/module/iommufd/parameters/allow_unsafe_interrupts")]
    [InlineData("/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts")]
    public void A_module_parameter_is_Y_or_N(string path)
    {
        Assert.Equal("N", _t.Read(path));
        TestHost.Succeeds(_t.Write(path, "1"), "write");
        Assert.Equal("Y", _t.Read(path));
        TestHost.Fails(EINVAL, _t.Write(path, "q"));
        TestHost.Succeeds(_t.Write(path, "N\n"), "write");
        Assert.Equal("N", _t.Read(path));
    }
}
