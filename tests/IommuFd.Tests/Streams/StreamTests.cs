using IommuFd.Native.Uapi;

namespace IommuFd.Tests;

/// <summary>Faults, events and dirty pages as streams.</summary>
public sealed class StreamTests : IDisposable
{
    private const uint Last = (uint)iommu_hwpt_pgfault_flags.IOMMU_PGFAULT_FLAGS_LAST_PAGE,
        WithPasid = (uint)iommu_hwpt_pgfault_flags.IOMMU_PGFAULT_FLAGS_PASID_VALID;

    private readonly FakeMachine _machine = new();
    private readonly IommuContext _context;
    private readonly BoundDevice _device;

    public StreamTests()
    {
        _context = _machine.Host.OpenContext();
        _device = _machine.OpenDevice().Bind(_context, cookie: 0xc00c1e);
    }

    public void Dispose()
    {
        _device.Dispose();
        _context.Dispose();
        _machine.Host.Dispose();
    }

    [Fact]
    public async Task Page_requests_come_as_groups_with_the_cookie_of_the_device()
    {
        using FaultQueue faults = _context.AllocateFaultQueue();
        Task<PageRequest> next = Task.Run(async () =>
        {
            await foreach (PageRequest request in faults.ReadAllAsync(Limit()))
            {
                return request;
            }

            throw new InvalidOperationException();
        });
        await Task.Delay(20);
        _machine.Deliver(Fault(0x1000, cookie: 9, 0), Fault(0x2000, cookie: 9, Last | WithPasid));
        using PageRequest got = await next;
        Assert.Equal(0xc00c1eu, got.Cookie);
        Assert.Equal(5u, got.Pasid);
        Assert.Equal([0x1000ul, 0x2000ul], got.Pages.Select(static page => page.Address));
        got.Complete();
        Assert.Equal([new iommu_hwpt_page_response { cookie = 9, code = 0 }], _machine.Responses());
    }

    [Fact]
    public void Groups_that_interleave_are_told_apart()
    {
        using FaultQueue faults = _context.AllocateFaultQueue();
        _machine.Deliver(Fault(0x1000, cookie: 1, 0), Fault(0x5000, cookie: 2, 0), Fault(0x6000, cookie: 2, Last), Fault(0x2000, cookie: 1, Last));
        PageRequest first = faults.ReadRequest(TimeSpan.Zero)!, second = faults.ReadRequest(TimeSpan.Zero)!;
        Assert.Equal([0x5000ul, 0x6000ul], first.Pages.Select(static page => page.Address));
        Assert.Equal([0x1000ul, 0x2000ul], second.Pages.Select(static page => page.Address));
        Assert.False(faults.TryReadRequest(out _));
        first.Dispose();
        second.Dispose();
    }

    [Fact]
    public void A_request_that_is_dropped_is_refused_once()
    {
        using FaultQueue faults = _context.AllocateFaultQueue();
        _machine.Deliver(Fault(0x1000, cookie: 3, Last));
        PageRequest request = faults.ReadRequest(TimeSpan.FromSeconds(5))!;
        request.Dispose();
        request.Dispose();
        Assert.Equal(
            [new iommu_hwpt_page_response { cookie = 3, code = (uint)iommufd_page_response_code.IOMMUFD_PAGE_RESP_INVALID }], _machine.Responses());
        Assert.Empty(_machine.Responses());
    }

    [Fact]
    public void A_request_that_is_lost_is_refused_by_the_garbage_collector()
    {
        using FaultQueue faults = _context.AllocateFaultQueue();
        _machine.Deliver(Fault(0x1000, cookie: 4, Last));
        Lose(faults);
        for (int i = 0; i < 50; i++)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
            if (_machine.Responses() is [{ cookie: 4 }])
            {
                return;
            }
        }

        Assert.Fail("no response came");

        static void Lose(FaultQueue queue) => Assert.NotNull(queue.ReadRequest(TimeSpan.FromSeconds(5)));
    }

    [Fact]
    public void Waiting_in_the_calling_thread_ends_after_the_timeout()
    {
        using FaultQueue faults = _context.AllocateFaultQueue();
        Assert.Null(faults.ReadRequest(TimeSpan.FromMilliseconds(20)));
    }

    [Fact]
    public async Task Disposing_the_queue_ends_the_stream()
    {
        FaultQueue faults = _context.AllocateFaultQueue();
        Task stream = Task.Run(async () =>
        {
            await foreach (PageRequest request in faults.ReadAllAsync())
            {
                request.Dispose();
            }
        });
        await Task.Delay(20);
        faults.Dispose();
        await Assert.ThrowsAsync<ObjectDisposedException>(() => stream);
    }

    [Fact]
    public async Task Virtual_events_come_with_their_number_and_their_losses()
    {
        using Ioas ioas = _context.AllocateIoas();
        using HwptPaging parent = _context.AllocateHwptPaging(_device.DeviceId, ioas, iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_NEST_PARENT);
        using VirtualIommu iommu = _context.AllocateVirtualIommu(_device.DeviceId, parent, iommu_viommu_type.IOMMU_VIOMMU_TYPE_ARM_SMMUV3);
        using VirtualEventQueue queue = iommu.AllocateEventQueue(iommu_veventq_type.IOMMU_VEVENTQ_TYPE_ARM_SMMUV3, 8);
        byte[] bytes = new byte[8 + 32 + 8];
        bytes[4] = 7;
        bytes[8] = 0x10; // F_TRANSLATION
        bytes[40] = (byte)iommu_veventq_flag.IOMMU_VEVENTQ_FLAG_LOST_EVENTS;
        bytes[44] = 9;
        _machine.Deliver<byte>(bytes);
        List<VirtualEvent> events = [];
        await foreach (VirtualEvent next in queue.ReadAllAsync(Limit()))
        {
            events.Add(next);
            if (events.Count == 2)
            {
                break;
            }
        }

        Assert.Equal((7u, false, 0x10ul), (events[0].Sequence, events[0].IsLost, events[0].As<iommu_vevent_arm_smmuv3>().evt[0]));
        Assert.Equal((9u, true, 0), (events[1].Sequence, events[1].IsLost, events[1].Data.Length));
        Assert.Null(queue.ReadEvent(TimeSpan.FromMilliseconds(10)));
    }

    [Fact]
    public void Dirty_pages_come_as_ranges_that_join_across_words_and_windows()
    {
        using Ioas ioas = _context.AllocateIoas();
        using HwptPaging table = _context.AllocateHwptPaging(_device.DeviceId, ioas, iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_DIRTY_TRACKING);
        using DirtyTracking tracking = DirtyTracking.Start(table);
        const ulong Window = 4096UL * 64 * 4096;
        for (ulong page = 62; page < 67; page++)
        {
            _machine.Dirty.Add(page * 4096);
        }

        _machine.Dirty.Add(100 * 4096);
        _machine.Dirty.Add(Window - 4096);
        _machine.Dirty.Add(Window);
        List<IovaRange> ranges = [];
        tracking.Collect(new IovaRange(0, (2 * Window) - 1), ranges);
        Assert.Equal(
            [new IovaRange(62 * 4096, (67 * 4096) - 1), new IovaRange(100 * 4096, (101 * 4096) - 1), new IovaRange(Window - 4096, Window + 4095)],
                ranges);
        Assert.Equal(2, _machine.Calls.Count(static call => call == "IOMMU_HWPT_GET_DIRTY_BITMAP"));
    }

    [Fact]
    public async Task Dirty_ranges_can_be_watched()
    {
        using Ioas ioas = _context.AllocateIoas();
        using HwptPaging table = _context.AllocateHwptPaging(_device.DeviceId, ioas, iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_DIRTY_TRACKING);
        using DirtyTracking tracking = DirtyTracking.Start(table, 0x10000);
        _machine.Dirty.Add(0x20000);
        int seen = 0;
        await foreach (IovaRange range in tracking.WatchAsync(new IovaRange(0, 0xfffff), TimeSpan.FromMilliseconds(5), Limit()))
        {
            Assert.Equal(new IovaRange(0x20000, 0x2ffff), range);
            if (++seen == 3)
            {
                break;
            }
        }

        tracking.Dispose();
        Assert.Equal("IOMMU_HWPT_SET_DIRTY_TRACKING", _machine.Calls[^1]);
    }

    private iommu_hwpt_pgfault Fault(ulong address, uint cookie, uint flags) => new()
    {
        flags = flags, dev_id = _device.DeviceId, pasid = 5, addr = address, cookie = cookie,
        perm = (uint)iommu_hwpt_pgfault_perm.IOMMU_PGFAULT_PERM_WRITE,
    };

    private static CancellationToken Limit() => new CancellationTokenSource(TimeSpan.FromSeconds(20)).Token;
}
