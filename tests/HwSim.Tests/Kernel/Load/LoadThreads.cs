using System.Diagnostics;
using IommuFd.HwSim;
using IommuFd.HwSim.Kernel;
using IommuFd.Native;
using IommuFd.Native.Uapi;
using Uapi = IommuFd.Native.Uapi.Iommufd;
using Xunit;
using static HwSim.Tests.Kernel.Load.SeamCalls;
using static IommuFd.Native.Errno;

namespace HwSim.Tests.Kernel.Load;

/// <summary>Eight threads on one machine, all on one iommufd where that is possible. Each checks what only it can have changed.</summary>
internal sealed unsafe class LoadThreads
{
    private const ulong Window = 1UL << 32;
    private readonly SeamCalls _c;
    private readonly Stopwatch _clock = Stopwatch.StartNew();
    private readonly TimeSpan _time;
    private readonly Thread[] _threads;
    private readonly int _iommufd;
    private readonly uint _first, _second;
    private Exception? _failure;
    private long _calls;

    public LoadThreads(SimulatedHost host, TimeSpan time)
    {
        _c = new SeamCalls(host);
        _time = time;
        _iommufd = _c.OpenIommu();
        (_first, _second) = (_c.IoasAlloc(_iommufd), _c.IoasAlloc(_iommufd));
        Action[] roles = [Dma, AttachAndDetach, () => MapAndCopy(1), () => MapAndCopy(2), Tables, Mock, Contexts, DeviceCalls];
        _threads = [.. roles.Select(role => new Thread(() => Run(role)))];
    }

    /// <summary>Rounds that all threads made together.</summary>
    public long Rounds => Interlocked.Read(ref _calls);

    public void Start() => Array.ForEach(_threads, static thread => thread.Start());

    /// <summary>Waits for the threads and closes what they shared.</summary>
    public void Join()
    {
        foreach (Thread thread in _threads)
        {
            Assert.True(thread.Join(_time + TimeSpan.FromSeconds(60)), "a thread does not end");
        }

        if (_failure is not null)
        {
            throw new InvalidOperationException("a thread failed", _failure);
        }

        Ok(_c.Kernel.Close(_iommufd));
    }

    private bool Goes
    {
        get
        {
            Interlocked.Increment(ref _calls);
            return Volatile.Read(ref _failure) is null && _clock.Elapsed < _time;
        }
    }

    private void Run(Action role)
    {
        try
        {
            role();
        }
#pragma warning disable CA1031 // whatever it is, the test reports it
        catch (Exception failure)
#pragma warning restore CA1031
        {
            Interlocked.CompareExchange(ref _failure, failure, null);
        }
    }

    // A device with an address space of its own on the shared iommufd: data arrives, and not any more once it is unmapped.
    private void Dma()
    {
        int device = _c.OpenDevice(Edu);
        _ = _c.Bind(device, _iommufd);
        uint ioas = _c.IoasAlloc(_iommufd);
        Ok(_c.Attach(device, ioas));
        _c.WriteRegion(device, Vfio.VFIO_PCI_CONFIG_REGION_INDEX, 4, 2, 6);
        nint memory = _c.Pages(4);
        ulong* words = (ulong*)memory;
        for (ulong round = 1; Goes; round++)
        {
            ulong iova = (round % 1000) * 4 * Page, other = Window;
            Ok(_c.Map(_iommufd, ioas, memory, 4 * Page, ref iova));
            (words[0], words[512]) = (round, 0);
            _c.Dma(device, iova, Page, toMemory: false);
            _c.Dma(device, iova + Page, Page, toMemory: true);
            Assert.Equal(round, words[512]);
            Ok(_c.Copy(_iommufd, ioas, ioas, iova, 4 * Page, ref other, 7));
            Ok(_c.Unmap(_iommufd, ioas, iova, 4 * Page, out ulong unmapped));
            Assert.Equal(4 * Page, unmapped);
            words[512] = 0;
            _c.Dma(device, iova + Page, Page, toMemory: true);
            Assert.Equal(0UL, words[512]);
            _c.Dma(device, other + Page, Page, toMemory: true);
            Assert.Equal(round, words[512]);
            Ok(_c.Unmap(_iommufd, ioas, other, 4 * Page, out _));
        }

        Ok(_c.Kernel.Close(device));
        Ok(_c.Kernel.Munmap(memory, (nuint)(4 * Page)));
    }

    // Domains come and go under the threads that map.
    private void AttachAndDetach()
    {
        for (int round = 0; Goes; round++)
        {
            int a = _c.OpenDevice(PairA), b = _c.OpenDevice(PairB);
            _ = _c.Bind(a, _iommufd);
            _ = _c.Bind(b, _iommufd);
            Ok(_c.Attach(a, _first));
            Assert.Equal(-EINVAL, _c.Attach(b, _second));
            Ok(_c.Attach(b, _first));
            Ok(_c.Attach(a, _second));
            Ok(_c.Detach(b));
            Ok(_c.Attach(a, _first));
            if (round % 2 == 0)
            {
                Ok(_c.Detach(a));
            }

            Ok(_c.Kernel.Close(b));
            Ok(_c.Kernel.Close(a));
        }
    }

    // Maps into the shared spaces, each thread at addresses of its own, and wherever the kernel likes.
    private void MapAndCopy(int number)
    {
        var random = new Random(number);
        ulong mine = (ulong)number * Window;
        const int Most = 64;
        nint memory = _c.Pages(Most);
        while (Goes)
        {
            ulong length = (ulong)random.Next(1, Most) * Page, at = mine + ((ulong)random.Next(16) * Most * Page), automatic = 0, copy = 0;
            uint from = random.Next(2) == 0 ? _first : _second, to = from == _first ? _second : _first;
            Ok(_c.Map(_iommufd, from, memory, length, ref at));
            Assert.Equal(-EEXIST, _c.Map(_iommufd, from, memory, Page, ref at));
            Ok(_c.Map(_iommufd, to, memory, length, ref automatic, 6));
            Ok(_c.Copy(_iommufd, to, from, at, length, ref copy));
            Ok(_c.Unmap(_iommufd, from, at, length, out ulong unmapped));
            Assert.Equal(length, unmapped);
            Assert.Equal(-ENOENT, _c.Unmap(_iommufd, from, at, length, out _));
            Ok(_c.Unmap(_iommufd, to, copy, length, out unmapped));
            Assert.Equal(length, unmapped);
            Ok(_c.Unmap(_iommufd, to, automatic, length, out unmapped));
            Assert.Equal(length, unmapped);
        }

        Ok(_c.Kernel.Munmap(memory, (nuint)(Most * Page)));
    }

    // Tables by hand over the shared spaces, with questions about them.
    private void Tables()
    {
        int device = _c.OpenDevice(Nvme);
        uint id = _c.Bind(device, _iommufd);
        int eventfd = Ok(_c.Kernel.EventFd(0, Libc.EFD_NONBLOCK));
        iommu_iova_range* ranges = stackalloc iommu_iova_range[8];
        while (Goes)
        {
            Ok(_c.HwptAlloc(_iommufd, id, _first, 0, out uint hwpt));
            Ok(_c.Attach(device, hwpt));
            Assert.Equal(-EBUSY, _c.Destroy(_iommufd, hwpt));
            var asked = new iommu_ioas_iova_ranges { size = (uint)sizeof(iommu_ioas_iova_ranges), ioas_id = _first, num_iovas = 8,
                allowed_iovas = (ulong)ranges };
            Ok(_c.Ioctl(_iommufd, Uapi.IOMMU_IOAS_IOVA_RANGES, ref asked));
            Assert.Equal(0UL, ranges[0].start);
            var info = new iommu_hw_info { size = (uint)sizeof(iommu_hw_info), dev_id = id };
            Ok(_c.Ioctl(_iommufd, Uapi.IOMMU_GET_HW_INFO, ref info));
            Interrupt(device, eventfd);
            Ok(_c.Detach(device));
            Ok(_c.Destroy(_iommufd, hwpt));
            Assert.Equal(-EBUSY, _c.Destroy(_iommufd, id));
        }

        Ok(_c.Kernel.Close(device));
        Ok(_c.Kernel.Close(eventfd));
    }

    // MSI-X vector 0: given an eventfd, triggered by hand, taken away.
    private void Interrupt(int device, int eventfd)
    {
        Ok(_c.SetIrqs(device, Vfio.VFIO_IRQ_SET_DATA_EVENTFD | Vfio.VFIO_IRQ_SET_ACTION_TRIGGER, 1, eventfd));
        Ok(_c.SetIrqs(device, Vfio.VFIO_IRQ_SET_DATA_NONE | Vfio.VFIO_IRQ_SET_ACTION_TRIGGER, 1));
        ulong count = 0;
        Assert.Equal(8, _c.Kernel.Read(eventfd, (nint)(&count), 8));
        Assert.Equal(1UL, count);
        Ok(_c.SetIrqs(device, Vfio.VFIO_IRQ_SET_DATA_NONE | Vfio.VFIO_IRQ_SET_ACTION_TRIGGER, 0));
    }

    // Mock devices with a nested table, a fault queue and dirty tracking on the shared iommufd.
    private void Mock()
    {
        nint memory = _c.Pages(16);
        while (Goes)
        {
            uint ioas = _c.IoasAlloc(_iommufd);
            ulong iova = iommu_test_cmd.MOCK_APERTURE_START;
            Ok(_c.Map(_iommufd, ioas, memory, 16 * Page, ref iova));
            var mock = new iommu_test_cmd { id = ioas };
            Ok(_c.Test(_iommufd, iommu_test_op.IOMMU_TEST_OP_MOCK_DOMAIN, ref mock));
            var queue = new iommu_fault_alloc { size = (uint)sizeof(iommu_fault_alloc) };
            Ok(_c.Ioctl(_iommufd, Uapi.IOMMU_FAULT_QUEUE_ALLOC, ref queue));
            Ok(_c.HwptAlloc(_iommufd, mock.mock_domain_out_idev_id, ioas, 1, out uint parent));
            Ok(_c.HwptAlloc(_iommufd, mock.mock_domain_out_idev_id, ioas, 2, out uint tracked));
            var tracking = new iommu_hwpt_set_dirty_tracking { size = (uint)sizeof(iommu_hwpt_set_dirty_tracking), hwpt_id = tracked, flags = 1 };
            Ok(_c.Ioctl(_iommufd, Uapi.IOMMU_HWPT_SET_DIRTY_TRACKING, ref tracking));
            Assert.Equal(-EBUSY, _c.Destroy(_iommufd, ioas));
            Ok(_c.Kernel.Close((int)queue.out_fault_fd));
            Ok(_c.Destroy(_iommufd, queue.out_fault_id));
            Ok(_c.Destroy(_iommufd, tracked));
            Ok(_c.Destroy(_iommufd, parent));
            Ok(_c.Destroy(_iommufd, mock.mock_domain_out_stdev_id));
            Ok(_c.Unmap(_iommufd, ioas, 0, ulong.MaxValue, out _));
            Ok(_c.Destroy(_iommufd, ioas));
        }

        Ok(_c.Kernel.Munmap(memory, (nuint)(16 * Page)));
    }

    // An iommufd that is closed with everything still in it.
    private void Contexts()
    {
        nint memory = _c.Pages(16);
        while (Goes)
        {
            int iommufd = _c.OpenIommu();
            uint ioas = _c.IoasAlloc(iommufd);
            ulong iova = iommu_test_cmd.MOCK_APERTURE_START;
            Ok(_c.Map(iommufd, ioas, memory, 16 * Page, ref iova));
            var mock = new iommu_test_cmd { id = ioas };
            Ok(_c.Test(iommufd, iommu_test_op.IOMMU_TEST_OP_MOCK_DOMAIN, ref mock));
            Ok(_c.HwptAlloc(iommufd, mock.mock_domain_out_idev_id, ioas, 0, out _));
            Ok(_c.Kernel.Close(iommufd));
        }

        Ok(_c.Kernel.Munmap(memory, (nuint)(16 * Page)));
    }

    // Registers, interrupts and attributes of a device that another thread uses for DMA: its own file, so nothing of it is granted before it is
    // bound.
    private void DeviceCalls()
    {
        while (Goes)
        {
            int unbound = _c.OpenDevice(Edu), eventfd = Ok(_c.Kernel.EventFd(0, Libc.EFD_NONBLOCK));
            var info = new vfio_device_info { argsz = (uint)sizeof(vfio_device_info) };
            Assert.Equal(-EINVAL, _c.Ioctl(unbound, Vfio.VFIO_DEVICE_GET_INFO, ref info));
            Ok(_c.Host.Sysfs.ReadText(Path(Edu, "vendor"), out string vendor));
            Assert.Equal("0x1234\n", vendor);
            Ok(_c.Host.Sysfs.ReadBytes(Path(Edu, "config"), out byte[] config));
            Assert.Equal(0x34, config[0]);
            int container = Ok(_c.Kernel.Open("/dev/vfio/vfio", Libc.O_RDWR, 0));
            Ok(_c.Kernel.Ioctl(container, Vfio.VFIO_GET_API_VERSION, 0));
            Ok(_c.Kernel.Close(container));
            Ok(_c.Kernel.Close(eventfd));
            Ok(_c.Kernel.Close(unbound));
        }
    }
}
