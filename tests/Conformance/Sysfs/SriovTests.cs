using Conformance.Vfio;
using IommuFd.Native.Uapi;
using Xunit;
using static IommuFd.Native.Errno;
using static IommuFd.Native.Uapi.Vfio;

namespace Conformance.Sysfs;

/// <summary>Virtual functions: making them, using them, and the token that ties their users to the physical function's.</summary>
public sealed class SriovTests : IDisposable
{
    private const string First = "0000:01:10.0", Second = "0000:01:10.2";
    private readonly TestHost _t = new();

    public void Dispose()
    {
        if (_t.IsKernel && _t.Exists(TestHost.Path(First, "vendor")))
        {
            _ = _t.Write(TestHost.Path("0000:01:00.0", "sriov_numvfs"), "0");
        }

        _ = _t.Write("/sys/module/vfio_pci/parameters/enable_sriov", "N");
        _t.Dispose();
    }

    private string NumVfs => TestHost.Path(_t.Nic, "sriov_numvfs");

    [Theory]
    [InlineData("x", EINVAL)]
    [InlineData("65536", EINVAL)]
    [InlineData("99", ERANGE)]
    [InlineData("0", 0)]
    public void Numvfs_takes_a_number_up_to_the_total(string text, int errno) => Assert.Equal(-errno, _t.Write(NumVfs, text));

    [Fact]
    public void Numvfs_without_a_driver_is_ENOENT()
    {
        _t.Unbind(_t.Nic);
        TestHost.Fails(ENOENT, _t.Write(NumVfs, "2"));
        Assert.Equal(0, _t.Write(NumVfs, "0"));
    }

    [Fact]
    public void Numvfs_with_vfio_pci_needs_enable_sriov()
    {
        _t.BindVfio(_t.Nic);
        TestHost.Fails(ENOENT, _t.Write(NumVfs, "2"));
    }

    [Fact]
    public void The_host_driver_makes_virtual_functions()
    {
        TestHost.Succeeds(_t.Write(NumVfs, "2"), "sriov_numvfs");
        Assert.Equal("2", _t.Read(NumVfs));
        Assert.Equal("0x10ca", _t.Read(TestHost.Path(First, "device")));
        Assert.Equal("igbvf", _t.DriverOf(First));
        Assert.True(_t.Exists(TestHost.Path(Second, "physfn")));
        Assert.True(_t.Exists(TestHost.Path(_t.Nic, "virtfn1")));
        Assert.NotEqual(_t.GroupOf(First), _t.GroupOf(Second));
        TestHost.Fails(EBUSY, _t.Write(NumVfs, "3"));
        TestHost.Succeeds(_t.Write(NumVfs, "2"), "the same number");
        TestHost.Succeeds(_t.Write(NumVfs, "0"), "sriov_numvfs");
        Assert.False(_t.Exists(TestHost.Path(First, "vendor")));
    }

    [Fact]
    public void A_virtual_function_of_the_hosts_driver_needs_no_token()
    {
        TestHost.Succeeds(_t.Write(NumVfs, "2"), "sriov_numvfs");
        int device = _t.OpenDevice(First), iommufd = _t.OpenIommu();
        _t.Bind(device, iommufd);
        Assert.Equal(0x10ca8086u, _t.ReadRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, 0, 4));
        Assert.Equal(0u, _t.Irq(device, VFIO_PCI_INTX_IRQ_INDEX).count);
        Assert.Equal(3u, _t.Irq(device, VFIO_PCI_MSIX_IRQ_INDEX).count);
        Assert.Equal(2u, _t.ReadRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, 4, 2) & 2);
        _t.Attach(device, _t.AllocIoas(iommufd));
        _t.Close(device);
        _t.Unbind(First);
    }

    [Fact]
    public unsafe void A_virtual_function_of_vfio_pci_needs_the_token()
    {
        TestHost.Succeeds(_t.Write("/sys/module/vfio_pci/parameters/enable_sriov", "Y"), "enable_sriov");
        int physical = _t.OpenDevice(_t.Nic), iommufd = _t.OpenIommu();
        Guid token = Guid.NewGuid(), wrong = Guid.NewGuid();
        TestHost.Succeeds(BindWithToken(physical, iommufd, &token), "the physical function sets the token");
        TestHost.Succeeds(_t.Write(NumVfs, "1"), "sriov_numvfs");
        Assert.Equal("vfio-pci", _t.DriverOf(First));
        Assert.Equal("vfio-pci", _t.Read(TestHost.Path(First, "driver_override")));
        int virtualFunction = _t.Open(_t.CdevOf(First));
        TestHost.Fails(EACCES, _t.TryBind(virtualFunction, iommufd));
        TestHost.Fails(EACCES, BindWithToken(virtualFunction, iommufd, &wrong));
        TestHost.Succeeds(BindWithToken(virtualFunction, iommufd, &token), "with the token");
        _t.Close(virtualFunction);
        TestHost.Succeeds(_t.Write(NumVfs, "0"), "sriov_numvfs");
    }

    private unsafe int BindWithToken(int device, int iommufd, Guid* token)
    {
        vfio_device_bind_iommufd bind = new()
        {
            argsz = (uint)sizeof(vfio_device_bind_iommufd), flags = VFIO_DEVICE_BIND_FLAG_TOKEN, iommufd = iommufd, token_uuid_ptr = (ulong)token,
        };
        return _t.Ioctl(device, VFIO_DEVICE_BIND_IOMMUFD, ref bind);
    }
}
