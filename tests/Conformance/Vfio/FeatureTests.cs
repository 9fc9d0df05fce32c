using IommuFd.Native;
using IommuFd.Native.Uapi;
using Xunit;
using static IommuFd.Native.Errno;
using static IommuFd.Native.Uapi.Vfio;

namespace Conformance.Vfio;

/// <summary>VFIO_DEVICE_FEATURE of vfio-pci.</summary>
public sealed unsafe class FeatureTests : IDisposable
{
    private const uint Get = VFIO_DEVICE_FEATURE_GET, Set = VFIO_DEVICE_FEATURE_SET, Probe = VFIO_DEVICE_FEATURE_PROBE;
    private readonly TestHost _t = new();

    public void Dispose() => _t.Dispose();

    private (int Device, int Iommufd) Bound(string device)
    {
        int file = _t.OpenDevice(device), iommufd = _t.OpenIommu();
        _t.Bind(file, iommufd);
        return (file, iommufd);
    }

    private int Feature(int device, uint flags, byte[] payload, int? argsz = null)
    {
        byte[] argument = new byte[8 + payload.Length];
        BitConverter.TryWriteBytes(argument, argsz ?? argument.Length);
        BitConverter.TryWriteBytes(argument.AsSpan(4), flags);
        payload.CopyTo(argument, 8);
        return _t.Ioctl(device, VFIO_DEVICE_FEATURE, argument);
    }

    [Theory]
    [InlineData(VFIO_DEVICE_FEATURE_PCI_VF_TOKEN, Set, ENOTTY)] // not a physical function
    [InlineData(VFIO_DEVICE_FEATURE_MIGRATION, Get, ENOTTY)]
    [InlineData(VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, Get, ENOTTY)]
    [InlineData(VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY, Set, 0)]
    [InlineData(VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY, Get, EINVAL)]
    [InlineData(VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP, Set, 0)]
    [InlineData(VFIO_DEVICE_FEATURE_LOW_POWER_EXIT, Set, 0)]
    [InlineData(VFIO_DEVICE_FEATURE_DMA_LOGGING_START, Set, ENOTTY)]
    [InlineData(VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP, Set, ENOTTY)]
    [InlineData(VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT, Get, ENOTTY)]
    [InlineData(VFIO_DEVICE_FEATURE_MIG_DATA_SIZE, Get, ENOTTY)]
    [InlineData(VFIO_DEVICE_FEATURE_BUS_MASTER, Set, ENOTTY)]
    [InlineData(VFIO_DEVICE_FEATURE_DMA_BUF, Get, 0)]
    [InlineData(VFIO_DEVICE_FEATURE_DMA_BUF, Set, EINVAL)]
    [InlineData(999u, Get, ENOTTY)]
    public void Probe_tells_what_there_is(uint feature, uint operation, int errno) =>
        Assert.Equal(-errno, Feature(Bound(_t.Single).Device, feature | operation | Probe, []));

    [Fact]
    public void A_physical_function_has_a_token()
    {
        int device = Bound(_t.Nic).Device;
        Assert.Equal(0, Feature(device, VFIO_DEVICE_FEATURE_PCI_VF_TOKEN | Set | Probe, []));
        TestHost.Fails(EINVAL, Feature(device, VFIO_DEVICE_FEATURE_PCI_VF_TOKEN | Get, new byte[16]));
        TestHost.Fails(EINVAL, Feature(device, VFIO_DEVICE_FEATURE_PCI_VF_TOKEN | Set, new byte[15]));
        Assert.Equal(0, Feature(device, VFIO_DEVICE_FEATURE_PCI_VF_TOKEN | Set, Guid.NewGuid().ToByteArray()));
    }

    [Theory]
    [InlineData(Get | Set | VFIO_DEVICE_FEATURE_DMA_BUF)]
    [InlineData((1u << 19) | Get | VFIO_DEVICE_FEATURE_DMA_BUF)]
    [InlineData(VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY)]
    public void Flags_that_make_no_sense_are_EINVAL(uint flags) => TestHost.Fails(EINVAL, Feature(Bound(_t.Single).Device, flags, new byte[16]));

    [Fact]
    public void A_size_below_the_head_is_EINVAL() =>
        TestHost.Fails(EINVAL, Feature(Bound(_t.Single).Device, VFIO_DEVICE_FEATURE_LOW_POWER_EXIT | Set, [], argsz: 7));

    [Fact]
    public void Low_power_is_entered_once()
    {
        int device = Bound(_t.Single).Device;
        Assert.Equal(0, Feature(device, VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY | Set, []));
        TestHost.Fails(EINVAL, Feature(device, VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY | Set, []));
        Assert.Equal(0, Feature(device, VFIO_DEVICE_FEATURE_LOW_POWER_EXIT | Set, []));
        Assert.Equal(0, Feature(device, VFIO_DEVICE_FEATURE_LOW_POWER_EXIT | Set, []));
        Assert.Equal(0, Feature(device, VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY | Set, []));
    }

    [Fact]
    public void The_wakeup_of_low_power_is_an_eventfd()
    {
        int device = Bound(_t.Single).Device;
        TestHost.Fails(EINVAL, Feature(device, VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP | Set, new byte[7]));
        byte[] entry = new byte[8];
        BitConverter.TryWriteBytes(entry, -1);
        TestHost.Fails(EINVAL, Feature(device, VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP | Set, entry));
        BitConverter.TryWriteBytes(entry, device);
        TestHost.Fails(EINVAL, Feature(device, VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP | Set, entry));
        BitConverter.TryWriteBytes(entry, _t.EventFd());
        Assert.Equal(0, Feature(device, VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP | Set, entry));
    }

    private int Export(int device, uint region, uint flags, params (ulong Offset, ulong Length)[] ranges)
    {
        byte[] payload = new byte[16 + (16 * ranges.Length)];
        fixed (byte* pointer = payload)
        {
            *(vfio_device_feature_dma_buf*)pointer =
                new() { region_index = region, open_flags = Libc.O_CLOEXEC | Libc.O_RDWR, flags = flags, nr_ranges = (uint)ranges.Length };
            for (int i = 0; i < ranges.Length; i++)
            {
                ((vfio_region_dma_range*)(pointer + 16))[i] = new() { offset = ranges[i].Offset, length = ranges[i].Length };
            }
        }

        int result = Feature(device, VFIO_DEVICE_FEATURE_DMA_BUF | Get, payload);
        return result >= 0 ? _t.Keep(result) : result;
    }

    private static int MapFile(TestHost t, int iommufd, int ioas, int descriptor, ulong length)
    {
        iommu_ioas_map_file map = new()
        {
            size = (uint)sizeof(iommu_ioas_map_file),
            flags = (uint)(iommufd_ioas_map_flags.IOMMU_IOAS_MAP_FIXED_IOVA | iommufd_ioas_map_flags.IOMMU_IOAS_MAP_READABLE
                | iommufd_ioas_map_flags.IOMMU_IOAS_MAP_WRITEABLE),
            ioas_id = (uint)ioas,
            fd = descriptor,
            length = length,
            iova = 0x10000000,
        };
        return t.Ioctl(iommufd, Iommufd.IOMMU_IOAS_MAP_FILE, ref map);
    }

    [Theory]
    [InlineData(0u, 0u, 0x800ul, 0x1000ul, EINVAL)]
    [InlineData(0u, 0u, 0ul, 0x800ul, EINVAL)]
    [InlineData(0u, 0u, 0ul, 0ul, EINVAL)]
    [InlineData(0u, 1u, 0ul, 0x1000ul, EINVAL)]
    [InlineData(0u, 0u, 0x100000ul, 0x1000ul, EINVAL)]
    [InlineData(0u, 0u, 0ul, 0x200000ul, EINVAL)]
    [InlineData(3u, 0u, 0ul, 0x1000ul, ENODEV)]
    [InlineData(VFIO_PCI_ROM_REGION_INDEX, 0u, 0ul, 0x1000ul, ENODEV)]
    [InlineData(VFIO_PCI_CONFIG_REGION_INDEX, 0u, 0ul, 0x1000ul, ENODEV)]
    public void Exporting_a_BAR_refuses(uint region, uint flags, ulong offset, ulong length, int errno) =>
        TestHost.Fails(errno, Export(Bound(_t.Single).Device, region, flags, (offset, length)));

    [Fact]
    public void Exporting_no_range_is_EINVAL() => TestHost.Fails(EINVAL, Export(Bound(_t.Single).Device, 0, 0));

    [Fact]
    public void An_exported_BAR_can_be_mapped_for_DMA_while_memory_decoding_is_on()
    {
        (int device, int iommufd) = Bound(_t.Single);
        int ioas = _t.AllocIoas(iommufd);
        _t.Attach(device, ioas);
        Assert.Equal(2, _t.WriteRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, 4, 2, 0));
        int bar = TestHost.Succeeds(Export(device, 0, 0, (0, 0x10000)), "DMA_BUF");
        TestHost.Fails(ENODEV, MapFile(_t, iommufd, ioas, bar, 0x10000));
        Assert.Equal(2, _t.WriteRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, 4, 2, 2));
        TestHost.Succeeds(MapFile(_t, iommufd, ioas, bar, 0x10000), "IOAS_MAP_FILE");
        TestHost.Succeeds(_t.TryUnmap(iommufd, ioas, 0x10000000, 0x10000), "IOAS_UNMAP");
    }

    [Fact]
    public void Several_ranges_make_a_dma_buf_that_iommufd_cannot_map()
    {
        (int device, int iommufd) = Bound(_t.Single);
        Assert.Equal(2, _t.WriteRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, 4, 2, 2));
        int bar = TestHost.Succeeds(Export(device, 0, 0, (0, 0x1000), (0x2000, 0x1000)), "DMA_BUF");
        TestHost.Fails(EOPNOTSUPP, MapFile(_t, iommufd, _t.AllocIoas(iommufd), bar, 0x2000));
    }

    [Fact]
    public void A_dma_buf_outlives_its_device()
    {
        (int device, int iommufd) = Bound(_t.Single);
        Assert.Equal(2, _t.WriteRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, 4, 2, 2));
        int bar = TestHost.Succeeds(Export(device, 0, 0, (0, 0x1000)), "DMA_BUF");
        _t.Close(device);
        TestHost.Fails(ENODEV, MapFile(_t, iommufd, _t.AllocIoas(iommufd), bar, 0x1000));
        _t.Unbind(_t.Single);
    }

    [Fact]
    public void An_ioeventfd_writes_to_the_device()
    {
        int device = Bound(_t.Single).Device, eventfd = _t.EventFd();
        Assert.Equal(2, _t.WriteRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, 4, 2, 2));
        vfio_device_ioeventfd request =
            new() { argsz = (uint)sizeof(vfio_device_ioeventfd), flags = VFIO_DEVICE_IOEVENTFD_32, offset = 4, data = 0x12345678, fd = eventfd };
        TestHost.Succeeds(_t.Ioctl(device, VFIO_DEVICE_IOEVENTFD, ref request), "IOEVENTFD");
        TestHost.Fails(EEXIST, _t.Ioctl(device, VFIO_DEVICE_IOEVENTFD, ref request));
        ulong one = 1;
        Assert.Equal(8, _t.Kernel.Write(eventfd, (nint)(&one), 8));
        for (int i = 0; i < 1000 && _t.ReadRegion(device, 0, 4, 4) != 0xedcba987; i++)
        {
            Thread.Sleep(1);
        }

        Assert.Equal(0xedcba987u, _t.ReadRegion(device, 0, 4, 4));
        request.fd = -1;
        TestHost.Succeeds(_t.Ioctl(device, VFIO_DEVICE_IOEVENTFD, ref request), "IOEVENTFD");
        TestHost.Fails(ENODEV, _t.Ioctl(device, VFIO_DEVICE_IOEVENTFD, ref request));
    }

    [Theory]
    [InlineData(0u, 4ul, 1, EINVAL)]
    [InlineData(3u, 4ul, 1, EINVAL)]
    [InlineData(16u, 4ul, 1, EINVAL)]
    [InlineData(VFIO_DEVICE_IOEVENTFD_32, 4ul, -2, EINVAL)]
    [InlineData(VFIO_DEVICE_IOEVENTFD_32, 0xffffeul, 1, EINVAL)]
    [InlineData(VFIO_DEVICE_IOEVENTFD_32, 7ul << 40, 1, EINVAL)]
    [InlineData(VFIO_DEVICE_IOEVENTFD_32, 4ul, -1, ENODEV)]
    public void An_ioeventfd_refuses(uint flags, ulong offset, int fd, int errno)
    {
        int device = Bound(_t.Single).Device, eventfd = _t.EventFd();
        vfio_device_ioeventfd request =
            new() { argsz = (uint)sizeof(vfio_device_ioeventfd), flags = flags, offset = offset, data = 1, fd = fd > 0 ? eventfd : fd };
        TestHost.Fails(errno, _t.Ioctl(device, VFIO_DEVICE_IOEVENTFD, ref request));
    }
}
