using IommuFd.Native;
using IommuFd.Native.Uapi;
using Xunit;
using static IommuFd.Native.Errno;
using static IommuFd.Native.Uapi.Vfio;

namespace Conformance.Vfio;

/// <summary>Migration states, data streams and pre-copy information, with the device that the kernel has for it: its sample mtty.</summary>
public sealed unsafe class MigrationTests : IDisposable
{
    private const string Types = "/sys/class/mdev_bus/mtty/mdev_supported_types";
    private const uint Get = VFIO_DEVICE_FEATURE_GET, Set = VFIO_DEVICE_FEATURE_SET;
    private const uint Error = 0, Stop = 1, Running = 2, StopCopy = 3, Resuming = 4, RunningP2P = 5, PreCopy = 6, PreCopyP2P = 7;
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

    // The letter is the answer: y done, f done with a descriptor, E EINVAL.
    [Theory]
    [InlineData(Stop, "EyyffyffE")]
    [InlineData(Running, "EyyffyffE")]
    [InlineData(StopCopy, "EyyyfyEEE")]
    [InlineData(Resuming, "EEEEyEEEE")]
    [InlineData(RunningP2P, "EyyffyffE")]
    [InlineData(PreCopy, "EyyyfyyyE")]
    [InlineData(PreCopyP2P, "EyyyfyyyE")]
    public void States_that_can_be_reached_from(uint from, string answers)
    {
        string seen = "";
        for (uint to = Error; to <= 8; to++)
        {
            int device = Bound();
            TestHost.Succeeds(Change(device, from, out _), "first state");
            int result = Change(device, to, out int data);
            seen += result == 0 ? data >= 0 ? 'f' : 'y' : result == -EINVAL ? 'E' : '?';
            Assert.Equal(result == 0 ? to : from == Resuming ? Resuming : from, State(device));
        }

        Assert.Equal(answers, seen);
    }

    [Fact]
    public void A_change_that_cannot_be_reported_is_EFAULT_and_leaves_no_descriptor()
    {
        int device = Bound();
        TestHost.Fails(EFAULT, _t.Kernel.Ioctl(device, VFIO_DEVICE_FEATURE, 0x1000));
        Assert.Equal(Running, State(device));
    }

    [Fact]
    public void Precopy_info_is_of_the_saving_stream_in_a_precopy_state()
    {
        int device = Bound();
        Assert.Equal(0, Change(device, PreCopy, out int saving));
        Assert.Equal(0, PrecopyInfo(saving, out ulong initial, out ulong dirty));
        Assert.NotEqual(0UL, initial);
        Assert.Equal(0UL, dirty);
        byte* one = stackalloc byte[8];
        Assert.Equal(8, _t.Kernel.Read(saving, (nint)one, 8));
        Assert.Equal(0, PrecopyInfo(saving, out ulong left, out _));
        Assert.Equal(initial - 8, left);
        Assert.Equal(0, Change(device, PreCopyP2P, out _));
        Assert.Equal(0, PrecopyInfo(saving, out _, out _));
        Assert.Equal(0, Change(device, StopCopy, out _));
        TestHost.Fails(EINVAL, PrecopyInfo(saving, out _, out _));
    }

    [Theory]
    [InlineData(24u, 0u, 0)]
    [InlineData(23u, 0u, EINVAL)]
    [InlineData(0u, 0u, EINVAL)]
    [InlineData(32u, 0u, 0)]
    public void Precopy_info_checks_its_size(uint size, uint flags, int errno)
    {
        int device = Bound();
        Assert.Equal(0, Change(device, PreCopy, out int saving));
        byte[] argument = new byte[64];
        BitConverter.TryWriteBytes(argument, size);
        BitConverter.TryWriteBytes(argument.AsSpan(4), flags);
        Assert.Equal(-errno, _t.Ioctl(saving, VFIO_MIG_GET_PRECOPY_INFO, argument));
        TestHost.Fails(ENOTTY, _t.Ioctl(saving, VFIO_DEVICE_GET_INFO, argument));
        TestHost.Fails(EFAULT, _t.Kernel.Ioctl(saving, VFIO_MIG_GET_PRECOPY_INFO, 0x1000));
    }

    [Fact]
    public void A_stream_ends_with_its_state()
    {
        int device = Bound();
        Assert.Equal(0, Change(device, StopCopy, out int saving));
        Assert.Equal(0, Change(device, Stop, out _));
        byte* data = stackalloc byte[8];
        Assert.Equal(-ENODEV, _t.Kernel.Read(saving, (nint)data, 8));
        TestHost.Fails(EINVAL, PrecopyInfo(saving, out _, out _));
    }

    [Fact]
    public void A_saving_stream_is_only_read_and_from_where_it_is()
    {
        int device = Bound();
        Assert.Equal(0, Change(device, StopCopy, out int saving));
        byte* data = stackalloc byte[8];
        Assert.Equal(-EBADF, _t.Kernel.Write(saving, (nint)data, 8));
        Assert.Equal(-ESPIPE, _t.Kernel.Pread(saving, (nint)data, 8, 0));
        Assert.Equal(-EFAULT, _t.Kernel.Read(saving, 0x1000, 8));
    }

    [Fact]
    public void A_resuming_stream_is_only_written_and_must_begin_with_the_right_head()
    {
        int device = Bound();
        Assert.Equal(0, Change(device, Stop, out _));
        Assert.Equal(0, Change(device, Resuming, out int resuming));
        byte* data = stackalloc byte[64];
        new Span<byte>(data, 64).Clear();
        Assert.Equal(-EBADF, _t.Kernel.Read(resuming, (nint)data, 8));
        Assert.Equal(-ESPIPE, _t.Kernel.Pwrite(resuming, (nint)data, 8, 0));
        Assert.Equal(-EFAULT, _t.Kernel.Write(resuming, 0x1000, 8));
        Assert.Equal(8, _t.Kernel.Write(resuming, (nint)data, 8));
        Assert.True(_t.Kernel.Write(resuming, (nint)data, 56) < 0);
        TestHost.Fails(EINVAL, Change(device, Stop, out _));
        Assert.Equal(Resuming, State(device));
    }

    [Fact]
    public void Reset_is_what_leads_out_of_a_stream_that_is_wrong()
    {
        int device = Bound();
        Assert.Equal(0, Change(device, Stop, out _));
        Assert.Equal(0, Change(device, Resuming, out _));
        TestHost.Fails(EINVAL, Change(device, Running, out _));
        TestHost.Succeeds(_t.Kernel.Ioctl(device, VFIO_DEVICE_RESET, 0), "RESET");
        Assert.Equal(Running, State(device));
    }

    [Fact]
    public void The_size_of_the_state_is_known_before_it_is_saved()
    {
        int device = Bound();
        Span<byte> size = stackalloc byte[8];
        Assert.Equal(0, Feature(device, VFIO_DEVICE_FEATURE_MIG_DATA_SIZE | Get, size));
        ulong expected = BitConverter.ToUInt64(size);
        Assert.Equal(0, Change(device, StopCopy, out int saving));
        byte[] state = new byte[65536];
        ulong length = 0;
        fixed (byte* pointer = state)
        {
            for (nint read; (read = _t.Kernel.Read(saving, (nint)pointer, 1024)) > 0; length += (ulong)read)
            {
            }
        }

        Assert.Equal(expected, length);
    }

    [Theory]
    [InlineData(VFIO_DEVICE_FEATURE_MIGRATION | Set, 8, EINVAL)]
    [InlineData(VFIO_DEVICE_FEATURE_MIGRATION | Get, 7, EINVAL)]
    [InlineData(VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE | Get, 7, EINVAL)]
    [InlineData(VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE | Get, 8, 0)]
    [InlineData(VFIO_DEVICE_FEATURE_MIG_DATA_SIZE | Set, 8, EINVAL)]
    [InlineData(VFIO_DEVICE_FEATURE_MIG_DATA_SIZE | Get, 4, EINVAL)]
    [InlineData(VFIO_DEVICE_FEATURE_DMA_LOGGING_START | Set, 32, EINVAL)]
    [InlineData(VFIO_DEVICE_FEATURE_DMA_LOGGING_START | Set, 31, EINVAL)]
    [InlineData(VFIO_DEVICE_FEATURE_DMA_LOGGING_START | Get, 32, EINVAL)]
    [InlineData(VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP | Set, 0, 0)]
    [InlineData(VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP | Get, 0, EINVAL)]
    [InlineData(VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT | Get, 32, EINVAL)]
    [InlineData(VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT | Set, 32, EINVAL)]
    [InlineData(VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY | Set, 0, ENOTTY)]
    [InlineData(VFIO_DEVICE_FEATURE_PCI_VF_TOKEN | Set, 16, ENOTTY)]
    [InlineData(VFIO_DEVICE_FEATURE_DMA_BUF | Get, 32, ENOTTY)]
    public void Features_of_the_device(uint flags, int size, int errno) => Assert.Equal(-errno, Feature(Bound(), flags, new byte[size]));

    [Theory]
    [InlineData(1u, 4096ul, 0ul, 0x10000ul, 0)]
    [InlineData(0u, 4096ul, 0ul, 0x10000ul, EINVAL)]
    [InlineData(257u, 4096ul, 0ul, 0x10000ul, E2BIG)]
    [InlineData(1u, 4096ul, 0ul, 0ul, 0)]
    [InlineData(1u, 4096ul, 0x800ul, 0x1000ul, EINVAL)]
    [InlineData(1u, 4096ul, 0ul, 0x800ul, EINVAL)]
    [InlineData(1u, 4096ul, 0xffff_ffff_ffff_f000ul, 0x2000ul, EOVERFLOW)]
    [InlineData(1u, 3ul, 0ul, 0x10000ul, 0)]
    [InlineData(1u, 0ul, 0ul, 0x10000ul, EINVAL)]
    public void Logging_of_DMA_checks_its_ranges(uint count, ulong page, ulong iova, ulong length, int errno)
    {
        int device = Bound();
        vfio_device_feature_dma_logging_range* ranges = stackalloc vfio_device_feature_dma_logging_range[1];
        ranges[0] = new() { iova = iova, length = length };
        vfio_device_feature_dma_logging_control control = new() { page_size = page, num_ranges = count, ranges = (ulong)ranges };
        Span<byte> payload = new(&control, sizeof(vfio_device_feature_dma_logging_control));
        Assert.Equal(-errno, Feature(device, VFIO_DEVICE_FEATURE_DMA_LOGGING_START | Set, payload));
    }

    [Fact]
    public void Logging_of_DMA_refuses_ranges_that_overlap_or_are_not_there()
    {
        int device = Bound();
        vfio_device_feature_dma_logging_range* ranges = stackalloc vfio_device_feature_dma_logging_range[2];
        ranges[0] = new() { iova = 0, length = 0x2000 };
        ranges[1] = new() { iova = 0x1000, length = 0x2000 };
        vfio_device_feature_dma_logging_control control = new() { page_size = 4096, num_ranges = 2, ranges = (ulong)ranges };
        Span<byte> payload = new(&control, sizeof(vfio_device_feature_dma_logging_control));
        TestHost.Fails(EINVAL, Feature(device, VFIO_DEVICE_FEATURE_DMA_LOGGING_START | Set, payload));
        control.ranges = 0x1000;
        TestHost.Fails(EFAULT, Feature(device, VFIO_DEVICE_FEATURE_DMA_LOGGING_START | Set, payload));
    }

    private int Bound()
    {
        TestHost.Need(_t.Exists(Types), "the kernel has no mtty");
        string name = Guid.NewGuid().ToString("D");
        TestHost.Succeeds(_t.Write($"{Types}/mtty-1/create", name), "create");
        _made.Add(name);
        TestHost.Succeeds(_t.Sysfs.List($"/sys/bus/mdev/devices/{name}/vfio-dev", out string[] names), "vfio-dev");
        int device = _t.Open($"/dev/vfio/devices/{Assert.Single(names)}");
        _t.Bind(device, _t.OpenIommu());
        return device;
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

    private uint State(int device)
    {
        Span<byte> payload = stackalloc byte[8];
        TestHost.Succeeds(Feature(device, VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE | Get, payload), "MIG_DEVICE_STATE");
        return BitConverter.ToUInt32(payload);
    }

    private int Change(int device, uint state, out int data)
    {
        Span<byte> payload = stackalloc byte[8];
        BitConverter.TryWriteBytes(payload, state);
        BitConverter.TryWriteBytes(payload[4..], -1);
        int result = Feature(device, VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE | Set, payload);
        data = result == 0 ? BitConverter.ToInt32(payload[4..]) : -1;
        if (data >= 0)
        {
            _t.Keep(data);
        }

        return result;
    }

    private int PrecopyInfo(int stream, out ulong initial, out ulong dirty)
    {
        vfio_precopy_info info = new() { argsz = (uint)sizeof(vfio_precopy_info) };
        int result = _t.Ioctl(stream, VFIO_MIG_GET_PRECOPY_INFO, ref info);
        (initial, dirty) = (info.initial_bytes, info.dirty_bytes);
        return result;
    }
}
