using System.Diagnostics;
using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace Benchmarks;

/// <summary>A host that measures how long its system calls take: what a program without the library would spend on the same work.</summary>
internal sealed class TimedHost(IHost inner) : IHost
{
    public TimedKernel Timed { get; } = new(inner.Kernel);

    public HostKind Kind => inner.Kind;

    public string Description => inner.Description;

    public IKernel Kernel => Timed;

    public ISysfs Sysfs => inner.Sysfs;

    public void Dispose() => inner.Dispose();
}

/// <summary>Adds up the time of all calls but those that only ask: a bare program knows its machine.</summary>
internal sealed class TimedKernel(IKernel inner) : IKernel
{
    private static readonly HashSet<uint> s_questions =
    [
        Vfio.VFIO_DEVICE_GET_INFO, Vfio.VFIO_DEVICE_GET_REGION_INFO, Vfio.VFIO_DEVICE_GET_IRQ_INFO, Iommufd.IOMMU_GET_HW_INFO, Iommufd.IOMMU_IOAS_IOVA_RANGES,
    ];

    /// <summary>Stopwatch ticks in calls.</summary>
    public long Ticks { get; set; }

    public int Open(string path, int flags, int mode) => After(Stopwatch.GetTimestamp(), inner.Open(path, flags, mode));

    public int Close(int fd) => After(Stopwatch.GetTimestamp(), inner.Close(fd));

    public int Ioctl(int fd, uint request, nint argument)
    {
        var start = Stopwatch.GetTimestamp();
        var result = inner.Ioctl(fd, request, argument);
        return s_questions.Contains(request) ? result : After(start, result);
    }

    public nint Mmap(nint address, nuint length, int protection, int flags, int fd, long offset) =>
        After(Stopwatch.GetTimestamp(), inner.Mmap(address, length, protection, flags, fd, offset));

    public int Munmap(nint address, nuint length) => After(Stopwatch.GetTimestamp(), inner.Munmap(address, length));

    public int Madvise(nint address, nuint length, int advice) => After(Stopwatch.GetTimestamp(), inner.Madvise(address, length, advice));

    public int Mbind(nint address, nuint length, int node) => After(Stopwatch.GetTimestamp(), inner.Mbind(address, length, node));

    public nint Read(int fd, nint buffer, nuint count) => After(Stopwatch.GetTimestamp(), inner.Read(fd, buffer, count));

    public nint Write(int fd, nint buffer, nuint count) => After(Stopwatch.GetTimestamp(), inner.Write(fd, buffer, count));

    public nint Pread(int fd, nint buffer, nuint count, long offset) => After(Stopwatch.GetTimestamp(), inner.Pread(fd, buffer, count, offset));

    public nint Pwrite(int fd, nint buffer, nuint count, long offset) => After(Stopwatch.GetTimestamp(), inner.Pwrite(fd, buffer, count, offset));

    public int Poll(nint descriptors, uint count, int timeoutMilliseconds) => After(Stopwatch.GetTimestamp(), inner.Poll(descriptors, count, timeoutMilliseconds));

    public int EpollCreate(int flags) => After(Stopwatch.GetTimestamp(), inner.EpollCreate(flags));

    public int EpollControl(int epoll, int operation, int fd, uint events, ulong token) =>
        After(Stopwatch.GetTimestamp(), inner.EpollControl(epoll, operation, fd, events, token));

    public int EpollWait(int epoll, nint ready, int count, int timeoutMilliseconds) =>
        After(Stopwatch.GetTimestamp(), inner.EpollWait(epoll, ready, count, timeoutMilliseconds));

    public int EventFd(uint initialValue, int flags) => After(Stopwatch.GetTimestamp(), inner.EventFd(initialValue, flags));

    public int MemFdCreate(string name, uint flags) => After(Stopwatch.GetTimestamp(), inner.MemFdCreate(name, flags));

    public int Ftruncate(int fd, long length) => After(Stopwatch.GetTimestamp(), inner.Ftruncate(fd, length));

    public int Fcntl(int fd, int command, nint argument) => After(Stopwatch.GetTimestamp(), inner.Fcntl(fd, command, argument));

    public int SocketPair(int type, nint pair) => inner.SocketPair(type, pair);

    public nint SendDescriptors(int socket, nint payload, nuint payloadLength, nint fds, int fdCount) => inner.SendDescriptors(socket, payload, payloadLength, fds, fdCount);

    public nint ReceiveDescriptors(int socket, nint payload, nuint payloadLength, nint fds, ref int fdCount) =>
        inner.ReceiveDescriptors(socket, payload, payloadLength, fds, ref fdCount);

    public int GetResourceLimit(int resource, out ulong soft, out ulong hard) => inner.GetResourceLimit(resource, out soft, out hard);

    public int SetResourceLimit(int resource, ulong soft, ulong hard) => inner.SetResourceLimit(resource, soft, hard);

    // Arguments are evaluated from left to right: the time before the call, then the call.
    private T After<T>(long start, T result)
    {
        Ticks += Stopwatch.GetTimestamp() - start;
        return result;
    }
}
