using IommuFd.HwSim.Kernel;
using IommuFd.Native;
using IommuFd.Native.Uapi;
using Xunit;
using static Conformance.Iommu.IommufdCalls;
using static IommuFd.HwSim.Kernel.iommu_test_cmd;
using static IommuFd.Native.Errno;

namespace Conformance.Iommu;

/// <summary>Events of a virtual IOMMU, and its hardware queues.</summary>
public sealed unsafe class VeventqTests : IDisposable
{
    private const uint NEST_PARENT = (uint)iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_NEST_PARENT;
    private const int Header = 8, Event = 12;

    private readonly IommufdCalls _c = new();
    private Mock _mock;
    private uint _ioas;
    private uint _parent;
    private uint _viommu;

    public void Dispose() => _c.Dispose();

    [Fact]
    public void The_checks_of_veventq_alloc()
    {
        Setup();
        Fails(EOPNOTSUPP, _c.VeventqAlloc(_viommu, 0, 1, out _, out _));
        Fails(EINVAL, _c.VeventqAlloc(99, IOMMU_VEVENTQ_TYPE_SELFTEST, 0, out _, out _));
        Fails(EINVAL, _c.VeventqAlloc(99, IOMMU_VEVENTQ_TYPE_SELFTEST, (1 << 19) + 1, out _, out _));
        Fails(ENOENT, _c.VeventqAlloc(99, IOMMU_VEVENTQ_TYPE_SELFTEST, 1, out _, out _));
        Fails(ENOENT, _c.VeventqAlloc(_parent, IOMMU_VEVENTQ_TYPE_SELFTEST, 1, out _, out _));
        Ok(_c.VeventqAlloc(_viommu, IOMMU_VEVENTQ_TYPE_SELFTEST, 1 << 19, out uint id, out int fd));
        Fails(EEXIST, _c.VeventqAlloc(_viommu, IOMMU_VEVENTQ_TYPE_SELFTEST, 1, out _, out _));

        // A type that no event ever has.
        Ok(_c.VeventqAlloc(_viommu, 7, 1, out _, out _));
        Fails(EBUSY, _c.Destroy(id));
        Fails(EBUSY, _c.Destroy(_viommu));
        _c.Host.Close(fd);
        Ok(_c.Destroy(id));
        Ok(_c.VeventqAlloc(_viommu, IOMMU_VEVENTQ_TYPE_SELFTEST, 1, out _, out _));
    }

    [Fact]
    public void Events_come_with_their_sequence()
    {
        Setup();
        Attach(0x99);
        Fails(EOPNOTSUPP, _c.TriggerEvent(_mock.Idev));
        Ok(_c.VeventqAlloc(_viommu, IOMMU_VEVENTQ_TYPE_SELFTEST, 4, out _, out int fd));
        Assert.Equal(0, Read(fd, 64, out _));
        Assert.Equal(-EINVAL, Read(fd, Header - 1, out _));
        Assert.False(IsReadable(fd));
        Ok(_c.TriggerEvent(_mock.Idev));
        Ok(_c.TriggerEvent(_mock.Idev));
        Assert.True(IsReadable(fd));
        Assert.Equal(-EINVAL, Read(fd, Event - 1, out _));
        Assert.Equal(2 * Event, Read(fd, 64, out uint[] words));
        Assert.Equal([0, 0, 0x99, 0, 1, 0x99], words[..6]);
        Assert.False(IsReadable(fd));
        Ok(_c.TriggerEvent(_mock.Idev));
        Assert.Equal(-EFAULT, _c.Host.Kernel.Read(fd, 0x1000, 64));
        Assert.Equal(Event, Read(fd, Event, out words));
        Assert.Equal([0, 2, 0x99], words[..3]);
        Assert.Equal(-EINVAL, _c.Host.Kernel.Write(fd, 0, 8));
    }

    [Fact]
    public void Events_that_do_not_fit_are_lost_and_say_so()
    {
        Setup();
        Attach(5);
        Ok(_c.VeventqAlloc(_viommu, IOMMU_VEVENTQ_TYPE_SELFTEST, 2, out _, out int fd));
        for (int i = 0; i < 5; i++)
        {
            Ok(_c.TriggerEvent(_mock.Idev));
        }

        // Two events, then the header that says that something is missing, with the last sequence number.
        Assert.Equal((2 * Event) + Header, Read(fd, 64, out uint[] words));
        Assert.Equal([0, 0, 5, 0, 1, 5, 1, 4], words[..8]);
        Ok(_c.TriggerEvent(_mock.Idev));
        Assert.Equal(Event, Read(fd, 64, out words));
        Assert.Equal([0, 5, 5], words[..3]);
    }

    [Fact]
    public void The_lost_events_header_goes_when_a_new_event_fits()
    {
        Setup();
        Attach(5);
        Ok(_c.VeventqAlloc(_viommu, IOMMU_VEVENTQ_TYPE_SELFTEST, 1, out _, out int fd));
        Ok(_c.TriggerEvent(_mock.Idev));
        Ok(_c.TriggerEvent(_mock.Idev));
        Assert.Equal(Event, Read(fd, Event, out _));
        Ok(_c.TriggerEvent(_mock.Idev));
        Assert.Equal(Event, Read(fd, 64, out uint[] words));
        Assert.Equal([0, 2, 5], words[..3]);
        Ok(_c.TriggerEvent(_mock.Idev));
        Ok(_c.TriggerEvent(_mock.Idev));
        Assert.Equal(Event, Read(fd, Event, out _));
        Assert.Equal(Header, Read(fd, Header, out words));
        Assert.Equal([1, 4], words[..2]);
    }

    [Fact]
    public void A_device_that_is_not_on_the_viommu_has_no_events()
    {
        Setup();
        Ok(_c.VeventqAlloc(_viommu, IOMMU_VEVENTQ_TYPE_SELFTEST, 2, out _, out _));
        Fails(ENOENT, _c.TriggerEvent(_mock.Idev));
        Fails(ENOENT, _c.TriggerEvent(99));
    }

    [Theory]
    [InlineData(0u, MockBase, 0ul, EOPNOTSUPP)]
    [InlineData(IOMMU_HW_QUEUE_TYPE_SELFTEST, MockBase, 0ul, EINVAL)]
    [InlineData(IOMMU_HW_QUEUE_TYPE_SELFTEST, ulong.MaxValue, 2ul, EOVERFLOW)]
    [InlineData(IOMMU_HW_QUEUE_TYPE_SELFTEST, 0ul, ulong.MaxValue, ERANGE)]
    [InlineData(IOMMU_HW_QUEUE_TYPE_SELFTEST, 0ul, 0xffff_ffff_ffff_f001ul, ERANGE)]
    [InlineData(IOMMU_HW_QUEUE_TYPE_SELFTEST, 8ul, 0xffff_ffff_ffff_eff9ul, ERANGE)]
    [InlineData(IOMMU_HW_QUEUE_TYPE_SELFTEST, 0ul, 0xffff_ffff_ffff_f000ul, ENOMEM)]
    [InlineData(1u, MockBase, Page, EOPNOTSUPP)]
    [InlineData(IOMMU_HW_QUEUE_TYPE_SELFTEST, MockBase - Page, Page, ENOENT)]
    [InlineData(IOMMU_HW_QUEUE_TYPE_SELFTEST, MockBase, 2 * Page, ENOENT)]
    [InlineData(IOMMU_HW_QUEUE_TYPE_SELFTEST, MockBase, Page, 0)]
    [InlineData(IOMMU_HW_QUEUE_TYPE_SELFTEST, MockBase + 8, 8ul, 0)]
    public void Hardware_queues_need_memory(uint type, ulong iova, ulong length, int errno)
    {
        Setup();
        Ok(_c.Map(_ioas, (ulong)_c.Host.Pages(1), Page, MockBase));
        Assert.Equal(-errno, _c.HwQueueAlloc(_viommu, type, 0, iova, length, out _));
    }

    [Fact]
    public void Memory_of_a_hardware_queue_cannot_be_unmapped()
    {
        Setup();
        ulong va = (ulong)_c.Host.Pages(2);
        Ok(_c.Map(_ioas, va, Page, MockBase));
        Ok(_c.Map(_ioas, va + Page, Page, MockBase + Page));
        Ok(_c.HwQueueAlloc(_viommu, IOMMU_HW_QUEUE_TYPE_SELFTEST, 0, MockBase, 16, out uint queue));
        Fails(EBUSY, _c.Unmap(_ioas, MockBase, Page));
        Fails(EBUSY, _c.Unmap(_ioas, 0, ulong.MaxValue));
        Ok(_c.Unmap(_ioas, MockBase + Page, Page));
        Fails(EBUSY, _c.Destroy(_viommu));
        Ok(_c.Destroy(queue));
        Ok(_c.Unmap(_ioas, MockBase, Page));
    }

    [Fact]
    public void Hardware_queues_depend_on_the_one_before()
    {
        Setup();
        Ok(_c.Map(_ioas, (ulong)_c.Host.Pages(1), Page, MockBase));
        Fails(EINVAL, _c.HwQueueAlloc(_viommu, IOMMU_HW_QUEUE_TYPE_SELFTEST, 2, MockBase, 16, out _));
        Fails(EIO, _c.HwQueueAlloc(_viommu, IOMMU_HW_QUEUE_TYPE_SELFTEST, 1, MockBase, 16, out _));
        Ok(_c.HwQueueAlloc(_viommu, IOMMU_HW_QUEUE_TYPE_SELFTEST, 0, MockBase, 16, out uint first));
        Fails(EEXIST, _c.HwQueueAlloc(_viommu, IOMMU_HW_QUEUE_TYPE_SELFTEST, 0, MockBase, 16, out _));
        Ok(_c.HwQueueAlloc(_viommu, IOMMU_HW_QUEUE_TYPE_SELFTEST, 1, MockBase + 64, 16, out uint second));
        Fails(EBUSY, _c.Destroy(first));
        Ok(_c.Destroy(second));
        Ok(_c.Destroy(first));
        Ok(_c.Unmap(_ioas, MockBase, Page));
    }

    private void Setup()
    {
        _ioas = _c.IoasAlloc();
        _mock = _c.MockDomain(_ioas);
        _parent = _c.HwptAlloc(_mock.Idev, _ioas, NEST_PARENT);
        _viommu = _c.ViommuAlloc(_mock.Idev, _parent);
    }

    private void Attach(ulong virtualId)
    {
        Ok(_c.VdeviceAlloc(_viommu, _mock.Idev, virtualId, out _));
        Ok(_c.NestedAlloc(_mock.Idev, _viommu, 0, out uint nested));
        Ok(_c.MockReplace(_mock.Stdev, nested, out _));
    }

    private int Read(int fd, int bytes, out uint[] words)
    {
        words = new uint[16];
        fixed (uint* p = words)
        {
            return (int)_c.Host.Kernel.Read(fd, (nint)p, (nuint)bytes);
        }
    }

    private bool IsReadable(int fd)
    {
        var poll = new PollDescriptor { Descriptor = fd, Events = Libc.POLLIN };
        Ok(_c.Host.Kernel.Poll((nint)(&poll), 1, 0));
        return (poll.Returned & Libc.POLLIN) != 0;
    }
}
