using IommuFd.HwSim.Kernel;
using IommuFd.Native;
using Xunit;
using static IommuFd.Native.Errno;
using static IommuFd.Native.Uapi.Iommufd;

namespace Conformance.Iommu;

/// <summary>The size that user space gives with every command: too short, longer with zeroes, longer with something else.</summary>
public sealed class SizeRuleTests : IDisposable
{
    private readonly IommufdCalls _c = new();

    public static TheoryData<uint, int, int> Commands => new()
    {
        { IOMMU_DESTROY, 8, 8 },
        { IOMMU_IOAS_ALLOC, 12, 12 },
        { IOMMU_IOAS_ALLOW_IOVAS, 24, 24 },
        { IOMMU_IOAS_COPY, 40, 40 },
        { IOMMU_IOAS_IOVA_RANGES, 32, 32 },
        { IOMMU_IOAS_MAP, 40, 40 },
        { IOMMU_IOAS_UNMAP, 24, 24 },
        { IOMMU_OPTION, 24, 24 },
        { IOMMU_VFIO_IOAS, 12, 12 },
        { IOMMU_HWPT_ALLOC, 24, 48 },
        { IOMMU_GET_HW_INFO, 32, 40 },
        { IOMMU_HWPT_SET_DIRTY_TRACKING, 16, 16 },
        { IOMMU_HWPT_GET_DIRTY_BITMAP, 48, 48 },
        { IOMMU_HWPT_INVALIDATE, 32, 32 },
        { IOMMU_FAULT_QUEUE_ALLOC, 16, 16 },
        { IOMMU_IOAS_MAP_FILE, 40, 40 },
        { IOMMU_VIOMMU_ALLOC, 24, 40 },
        { IOMMU_VDEVICE_ALLOC, 24, 24 },
        { IOMMU_IOAS_CHANGE_PROCESS, 8, 8 },
        { IOMMU_VEVENTQ_ALLOC, 28, 32 },
        { IOMMU_HW_QUEUE_ALLOC, 40, 40 },
        { IOMMU_IOAS_NOIOMMU_GET_PA, 40, 40 },
    };

    public void Dispose() => _c.Dispose();

    [Theory]
    [MemberData(nameof(Commands))]
    public void Below_the_minimum_is_EINVAL(uint request, int minimum, int size)
    {
        _ = size;
        IommufdCalls.Fails(EINVAL, Call(request, minimum - 1, 64, 0));
        IommufdCalls.Fails(EINVAL, Call(request, 4, 64, 0));
        IommufdCalls.Fails(EINVAL, Call(request, 0, 64, 0));
    }

    [Theory]
    [MemberData(nameof(Commands))]
    public void A_tail_that_the_kernel_does_not_know_must_be_zero(uint request, int minimum, int size)
    {
        _ = minimum;
        IommufdCalls.Fails(E2BIG, Call(request, size + 1, size + 1, 1));
        IommufdCalls.Fails(E2BIG, Call(request, 4096, 4096, 1));

        // With a zero tail the command answers what it answers without one.
        Assert.Equal(Plain(request, size), Plain(request, size + 1));
        Assert.Equal(Plain(request, size), Plain(request, 4096));
    }

    [Theory]
    [MemberData(nameof(Commands))]
    public void The_minimum_is_enough(uint request, int minimum, int size)
    {
        _ = size;
        int result = Plain(request, minimum);
        Assert.NotEqual(-E2BIG, result);
        Assert.NotEqual(-EFAULT, result);
    }

    [Theory]
    [MemberData(nameof(Commands))]
    public void A_bad_address_is_EFAULT(uint request, int minimum, int size)
    {
        _ = (minimum, size);
        IommufdCalls.Fails(EFAULT, _c.Host.Kernel.Ioctl(_c.Fd, request, 0));
        IommufdCalls.Fails(EFAULT, _c.Host.Kernel.Ioctl(_c.Fd, request, 0x1000));
    }

    [Fact]
    public unsafe void An_argument_that_ends_in_a_hole_is_EFAULT()
    {
        nint pages = _c.Host.Pages(2);
        _c.MakeHole(pages + 4096, 4096);
        uint* size = (uint*)(pages + 4096 - 8);
        *size = 12;
        IommufdCalls.Fails(EFAULT, _c.Host.Kernel.Ioctl(_c.Fd, IOMMU_IOAS_ALLOC, (nint)size));
    }

    [Theory]
    [InlineData(0x3b96u)]
    [InlineData(0x3b9fu)]
    [InlineData(0x3aa0u)]
    [InlineData(0x3a81u)]
    [InlineData(0xc0183b81u)]
    [InlineData(0x3bffu)]
    [InlineData(0x3b00u)]
    [InlineData(0x5401u)]
    public void A_number_that_is_no_command_is_ENOTTY(uint request) => IommufdCalls.Fails(ENOTTY, _c.Host.Ioctl(_c.Fd, request, new byte[128]));

    [Fact]
    public void A_file_that_has_no_read_or_write_answers_EINVAL()
    {
        nint page = _c.Host.Pages(1);
        Assert.Equal(-EINVAL, _c.Host.Kernel.Read(_c.Fd, page, 8));
        Assert.Equal(-EINVAL, _c.Host.Kernel.Write(_c.Fd, page, 8));
        Assert.Equal(-EINVAL, _c.Host.Kernel.Pread(_c.Fd, page, 8, 0));
        Assert.Equal(-EINVAL, _c.Host.Kernel.Pwrite(_c.Fd, page, 8, 0));
    }

    [Fact]
    public void Mmap_of_an_offset_that_was_not_given_out_is_ENXIO()
    {
        Assert.Equal(-ENXIO, _c.Host.Kernel.Mmap(0, 4096, Libc.PROT_READ, Libc.MAP_SHARED, _c.Fd, 0));
        Assert.Equal(-EINVAL, _c.Host.Kernel.Mmap(0, 4096, Libc.PROT_READ, Libc.MAP_PRIVATE, _c.Fd, 0));
    }

    [Fact]
    public void The_test_command_has_the_same_rules()
    {
        _c.NeedMock();
        IommufdCalls.Fails(EINVAL, Call(iommu_test_cmd.IOMMU_TEST_CMD, 67, 128, 0));
        IommufdCalls.Fails(E2BIG, Call(iommu_test_cmd.IOMMU_TEST_CMD, 73, 73, 1));
        IommufdCalls.Fails(EOPNOTSUPP, Call(iommu_test_cmd.IOMMU_TEST_CMD, 68, 72, 0));
    }

    // A command that is all zeroes but its size.
    private int Plain(uint request, int size)
    {
        int result = Call(request, size, Math.Max(size, 64), 0);
        return result;
    }

    private int Call(uint request, int size, int room, byte lastByte)
    {
        byte[] argument = new byte[room];
        BitConverter.TryWriteBytes(argument, size);
        argument[^1] = lastByte;
        return _c.Host.Ioctl(_c.Fd, request, argument);
    }
}
