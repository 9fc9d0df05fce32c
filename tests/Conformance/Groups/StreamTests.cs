using System.Text;
using Conformance.Vfio;
using IommuFd.Native;
using Xunit;
using static IommuFd.Native.Errno;

namespace Conformance.Groups;

/// <summary>
/// Linux's SMMUv3 driver has one device for each stream id (arm_smmu_insert_master). The requests of all devices behind a bridge to conventional PCI
/// carry one id: the first device that was found has it, and the others have no IOMMU.
/// </summary>
public sealed unsafe class StreamTests : IDisposable
{
    private const string VfioBind = "/sys/bus/pci/drivers/vfio-pci/bind";
    private readonly TestHost _t = new();

    public StreamTests() => TestHost.Need(_t.IsSmmu, "asserts what Linux's SMMUv3 driver does; the IOMMU is of another family");

    public void Dispose() => _t.Dispose();

    [Fact]
    public void The_second_device_has_neither_group_nor_unit()
    {
        Assert.True(_t.Exists(TestHost.Path(_t.Conventional, "iommu")));
        Assert.False(_t.Exists(TestHost.Path(_t.SecondConventional, "iommu")));
        Assert.False(_t.Exists(TestHost.Path(_t.SecondConventional, "iommu_group")));
    }

    [Fact]
    public void Vfio_pci_refuses_it_with_EINVAL_and_the_log_tells_whose_stream_it_is()
    {
        string device = _t.SecondConventional;
        _t.Unbind(device);
        int log = _t.Keep(TestHost.Succeeds(_t.Kernel.Open("/dev/kmsg", Libc.O_RDONLY | Libc.O_NONBLOCK | Libc.O_CLOEXEC, 0), "open /dev/kmsg"));
        _ = Lines(log);
        TestHost.Succeeds(_t.Write(TestHost.Path(device, "driver_override"), "vfio-pci"), "driver_override");
        TestHost.Fails(EINVAL, _t.Write(VfioBind, device));
        Assert.Null(_t.DriverOf(device));
        Assert.Contains($"vfio-pci {device}: Aliasing StreamID 0x200 (from {_t.Conventional}) unsupported, expect DMA to be broken", Lines(log));
    }

    [Fact]
    public void A_driver_of_the_host_may_have_it() => _t.BindTo(_t.SecondConventional, "pci-stub");

    [Fact]
    public void The_first_is_attached_as_any_other()
    {
        int iommufd = _t.OpenIommu(), device = _t.OpenDevice(_t.Conventional);
        _ = _t.Bind(device, iommufd);
    }

    [Fact]
    public void When_the_first_is_gone_the_second_has_the_stream_at_its_next_driver()
    {
        string first = _t.Conventional, second = _t.SecondConventional;
        int group = _t.GroupOf(first);
        _t.Unbind(second);
        try
        {
            TestHost.Succeeds(_t.Write(TestHost.Path(first, "remove"), "1"), "remove");
            Assert.False(_t.Exists(TestHost.Path(second, "iommu_group")));
            _t.BindVfio(second);
            Assert.Equal(group, _t.GroupOf(second));

            // Now the one that comes back is the one too many.
            TestHost.Succeeds(_t.Write("/sys/bus/pci/rescan", "1"), "rescan");
            Assert.False(_t.Exists(TestHost.Path(first, "iommu_group")));
        }
        finally
        {
            _t.Unbind(second);
            _ = _t.Write(TestHost.Path(first, "remove"), "1");
            _ = _t.Write(TestHost.Path(second, "remove"), "1");
            _ = _t.Write("/sys/bus/pci/rescan", "1");
        }

        Assert.Equal(group, _t.GroupOf(first));
        Assert.False(_t.Exists(TestHost.Path(second, "iommu_group")));
    }

    // What the log has more than at the last call.
    private List<string> Lines(int log)
    {
        List<string> lines = [];
        byte* record = stackalloc byte[8192];
        while ((int)_t.Kernel.Read(log, (nint)record, 8192) is int count and (> 0 or -EPIPE))
        {
            string text = Encoding.UTF8.GetString(record, Math.Max(count, 0));
            lines.Add(text[(text.IndexOf(';') + 1)..].Split('\n')[0]);
        }

        return lines;
    }
}
