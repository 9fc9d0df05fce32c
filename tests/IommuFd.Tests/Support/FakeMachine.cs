using System.Runtime.InteropServices;
using IommuFd.Native;
using IommuFd.Native.Uapi;
using Moq;
using static IommuFd.Native.Uapi.Iommufd;
using static IommuFd.Native.Uapi.Vfio;

namespace IommuFd.Tests;

/// <summary>
/// A seam whose ioctls succeed with made-up ids and whose calls are written down in order; memory and events are the real kernel's.
/// </summary>
internal sealed unsafe class FakeMachine
{
    private readonly LinuxKernel _linux = new();
    private readonly Dictionary<int, string> _open = [];
    private readonly Lock _gate = new();
    private uint _nextId = 1;

    internal FakeMachine()
    {
        Kernel = new Mock<IKernel>();
        Kernel.Setup(k => k.Open(It.IsAny<string>(), It.IsAny<int>(), It.IsAny<int>())).Returns((string path, int _, int _) => Open(path));
        Kernel.Setup(k => k.Close(It.IsAny<int>())).Returns((int fd) => Close(fd));
        Kernel.Setup(k => k.Ioctl(It.IsAny<int>(), It.IsAny<uint>(), It.IsAny<nint>()))
            .Returns((int fd, uint request, nint argument) => Ioctl(fd, request, argument));
        Kernel.Setup(k => k.Mmap(It.IsAny<nint>(), It.IsAny<nuint>(), It.IsAny<int>(), It.IsAny<int>(), It.IsAny<int>(), It.IsAny<long>()))
            .Returns((nint a, nuint l, int p, int f, int fd, long o) => Mmap(a, l, p, f, fd, o));
        Kernel.Setup(k => k.Munmap(It.IsAny<nint>(), It.IsAny<nuint>())).Returns((nint a, nuint l) => Log("munmap", _linux.Munmap(a, l)));
        Kernel.Setup(k => k.EventFd(It.IsAny<uint>(), It.IsAny<int>())).Returns((uint v, int f) => Real(_linux.EventFd(v, f), "eventfd"));
        Kernel.Setup(k => k.MemFdCreate(It.IsAny<string>(), It.IsAny<uint>())).Returns((string n, uint f) => Real(_linux.MemFdCreate(n, f), "memfd"));
        Kernel.Setup(k => k.Ftruncate(It.IsAny<int>(), It.IsAny<long>())).Returns((int fd, long l) => _linux.Ftruncate(fd, l));
        Kernel.Setup(k => k.Fcntl(It.IsAny<int>(), It.IsAny<int>(), It.IsAny<nint>())).Returns((int fd, int c, nint a) => _linux.Fcntl(fd, c, a));
        Kernel.Setup(k => k.EpollCreate(It.IsAny<int>())).Returns((int f) => Real(_linux.EpollCreate(f), "epoll"));
        Kernel.Setup(k => k.EpollControl(It.IsAny<int>(), It.IsAny<int>(), It.IsAny<int>(), It.IsAny<uint>(), It.IsAny<ulong>()))
            .Returns((int e, int o, int fd, uint ev, ulong t) => _linux.EpollControl(e, o, fd, ev, t));
        Kernel.Setup(k => k.EpollWait(It.IsAny<int>(), It.IsAny<nint>(), It.IsAny<int>(), It.IsAny<int>()))
            .Returns((int e, nint r, int c, int t) => _linux.EpollWait(e, r, c, t));
        Kernel.Setup(k => k.Poll(It.IsAny<nint>(), It.IsAny<uint>(), It.IsAny<int>())).Returns((nint d, uint c, int t) => _linux.Poll(d, c, t));
        Kernel.Setup(k => k.Read(It.IsAny<int>(), It.IsAny<nint>(), It.IsAny<nuint>())).Returns((int fd, nint b, nuint c) => _linux.Read(fd, b, c));
        Kernel.Setup(k => k.Write(It.IsAny<int>(), It.IsAny<nint>(), It.IsAny<nuint>())).Returns((int fd, nint b, nuint c) => _linux.Write(fd, b, c));
        Kernel.Setup(k => k.Pread(It.IsAny<int>(), It.IsAny<nint>(), It.IsAny<nuint>(), It.IsAny<long>()))
            .Returns((int fd, nint b, nuint c, long o) => _linux.Pread(fd, b, c, o));
        Kernel.Setup(k => k.Pwrite(It.IsAny<int>(), It.IsAny<nint>(), It.IsAny<nuint>(), It.IsAny<long>()))
            .Returns((int fd, nint b, nuint c, long o) => _linux.Pwrite(fd, b, c, o));
        Mock<IHost> host = new();
        host.SetupGet(h => h.Kernel).Returns(Kernel.Object);
        host.SetupGet(h => h.Sysfs).Returns(Sysfs.Object);
        Host = IommuHost.Over(host.Object);
    }

    internal Mock<IKernel> Kernel { get; }

    internal Mock<ISysfs> Sysfs { get; } = new();

    internal IommuHost Host { get; }

    /// <summary>What was called, in order.</summary>
    internal List<string> Calls { get; } = [];

    /// <summary>Descriptors that are still open, by name.</summary>
    internal IReadOnlyCollection<string> StillOpen => _open.Values;

    /// <summary>The size of region 0; it can be mapped when it is not 0, and is a memfd.</summary>
    internal ulong BarSize { get; set; } = 0x1000;

    internal uint BarFlags { get; set; } = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE | VFIO_REGION_INFO_FLAG_MMAP;

    internal VfioDeviceFile OpenDevice() => Host.OpenDevice("/dev/vfio/devices/vfio0");

    /// <summary>Makes a command fail, once it comes.</summary>
    internal void Fail(uint request, int errno) => Kernel.Setup(k => k.Ioctl(It.IsAny<int>(), request, It.IsAny<nint>())).Returns(-errno);

    private int Open(string path)
    {
        int fd = _linux.MemFdCreate("fake", Libc.MFD_CLOEXEC); // a descriptor with memory behind it: the device's registers
        _ = _linux.Ftruncate(fd, 0x10000);
        return Real(fd, path);
    }

    private int Real(int fd, string name)
    {
        lock (_gate)
        {
            _open[fd] = name;
            return fd;
        }
    }

    private int Close(int fd)
    {
        lock (_gate)
        {
            Calls.Add($"close {_open[fd]}");
            _ = _open.Remove(fd);
            return _linux.Close(fd);
        }
    }

    private nint Mmap(nint address, nuint length, int protection, int flags, int fd, long offset)
    {
        _ = Log(fd >= 0 && _open[fd] != "memfd" ? "mmap device" : (flags & Libc.MAP_FIXED) != 0 ? "mmap over" : "mmap", 0);
        return _linux.Mmap(address, length, protection, flags, fd, offset);
    }

    private int Log(string call, int result)
    {
        lock (_gate)
        {
            Calls.Add(call);
            return result;
        }
    }

    private int Ioctl(int fd, uint request, nint argument)
    {
        IoctlFile kind = _open[fd] == "/dev/iommu" ? IoctlFile.Iommu : IoctlFile.VfioDevice;
        if (kind == IoctlFile.Iommu && request == Rfc.IOMMU_CHECK_EXTENSION)
        {
            return 0; // VFIO_GET_API_VERSION here: how the library tells mainline from the proposal's kernel
        }

        Assert.True(IoctlCommands.TryFind(
            kind == IoctlFile.Iommu ? IoctlDialect.Iommufd : IoctlDialect.Vfio, kind, request, out IoctlCommand command));
        _ = Log(command.Name, 0);

        // SAFETY: the typed layer passes its own structs, as large as their first field says.
        switch (request)
        {
            case IOMMU_IOAS_ALLOC:
                ((iommu_ioas_alloc*)argument)->out_ioas_id = _nextId++;
                break;
            case IOMMU_IOAS_MAP:
                iommu_ioas_map* map = (iommu_ioas_map*)argument;
                map->iova = (map->flags & 1) != 0 ? map->iova : 0x10000;
                break;
            case IOMMU_IOAS_IOVA_RANGES:
                iommu_ioas_iova_ranges* ranges = (iommu_ioas_iova_ranges*)argument;
                ranges->out_iova_alignment = 0x1000;
                (ranges->num_iovas, uint room) = ((uint)Ranges.Length, ranges->num_iovas);
                if (room < Ranges.Length)
                {
                    return -Errno.EMSGSIZE;
                }

                MemoryMarshal.Cast<IovaRange, byte>(Ranges).CopyTo(new Span<byte>((void*)ranges->allowed_iovas, Ranges.Length * 16));
                break;
            case IOMMU_HWPT_ALLOC:
                ((iommu_hwpt_alloc*)argument)->out_hwpt_id = _nextId++;
                break;
            case IOMMU_VIOMMU_ALLOC:
                ((iommu_viommu_alloc*)argument)->out_viommu_id = _nextId++;
                break;
            case IOMMU_FAULT_QUEUE_ALLOC:
                iommu_fault_alloc* fault = (iommu_fault_alloc*)argument;
                (fault->out_fault_id, fault->out_fault_fd) = (_nextId++, (uint)NewQueue());
                break;
            case IOMMU_VEVENTQ_ALLOC:
                iommu_veventq_alloc* events = (iommu_veventq_alloc*)argument;
                (events->out_veventq_id, events->out_veventq_fd) = (_nextId++, (uint)NewQueue());
                break;
            case IOMMU_HWPT_GET_DIRTY_BITMAP:
                iommu_hwpt_get_dirty_bitmap* dirty = (iommu_hwpt_get_dirty_bitmap*)argument;
                foreach (ulong page in Dirty.Where(page => page >= dirty->iova && page - dirty->iova < dirty->length))
                {
                    ulong bit = (page - dirty->iova) / dirty->page_size;
                    ((ulong*)dirty->data)[bit / 64] |= 1UL << (int)(bit % 64);
                }

                break;
            case VFIO_DEVICE_BIND_IOMMUFD:
                ((vfio_device_bind_iommufd*)argument)->out_devid = _nextId++;
                break;
            case VFIO_DEVICE_GET_REGION_INFO:
                vfio_region_info* region = (vfio_region_info*)argument;
                (region->flags, region->size, region->offset) = (BarFlags, BarSize, 0);
                break;
            case VFIO_DEVICE_GET_IRQ_INFO:
                vfio_irq_info* irq = (vfio_irq_info*)argument;
                (irq->flags, irq->count) = (VFIO_IRQ_INFO_EVENTFD, 4);
                break;
            case VFIO_DEVICE_SET_IRQS:
                vfio_irq_set* set = (vfio_irq_set*)argument;
                if ((set->flags & VFIO_IRQ_SET_DATA_EVENTFD) != 0)
                {
                    EventFds = new ReadOnlySpan<int>((void*)(argument + vfio_irq_set.data_offset), (int)set->count).ToArray();
                }

                break;
        }

        return 0;
    }

    /// <summary>What IOMMU_IOAS_IOVA_RANGES answers.</summary>
    internal IovaRange[] Ranges { get; set; } = [new(0, 0xfedfffff), new(0xfef00000, ulong.MaxValue)];

    /// <summary>IOVAs that IOMMU_HWPT_GET_DIRTY_BITMAP reports.</summary>
    internal List<ulong> Dirty { get; } = [];

    /// <summary>The far end of the last fault or event queue: what is written there is read from the queue.</summary>
    internal int QueueFarEnd { get; private set; }

    internal void Deliver<T>(params ReadOnlySpan<T> records)
        where T : unmanaged
    {
        fixed (T* pointer = records)
        {
            Assert.Equal(records.Length * sizeof(T), _linux.Write(QueueFarEnd, (nint)pointer, (nuint)(records.Length * sizeof(T))));
        }
    }

    internal iommu_hwpt_page_response[] Responses()
    {
        iommu_hwpt_page_response* responses = stackalloc iommu_hwpt_page_response[16];
        PollDescriptor ready = new() { Descriptor = QueueFarEnd, Events = Libc.POLLIN };
        return _linux.Poll((nint)(&ready), 1, 0) == 0 ? []
            : new Span<iommu_hwpt_page_response>(responses, (int)_linux.Read(QueueFarEnd, (nint)responses, 128) / 8).ToArray();
    }

    private int NewQueue()
    {
        int* pair = stackalloc int[2];
        Assert.True(_linux.SocketPair(Libc.SOCK_SEQPACKET | Libc.SOCK_CLOEXEC | Libc.SOCK_NONBLOCK, (nint)pair) >= 0);
        QueueFarEnd = pair[1];
        return Real(pair[0], "queue");
    }

    /// <summary>The descriptors of the last VFIO_DEVICE_SET_IRQS.</summary>
    internal int[] EventFds { get; private set; } = [];

    /// <summary>Fires an interrupt as a device would.</summary>
    internal void Signal(int index)
    {
        ulong one = 1;
        _ = _linux.Write(EventFds[index], (nint)(&one), 8);
    }
}
