namespace IommuFd.Native;

/// <summary>The system calls of a <see cref="FaultInjectingHost"/>.</summary>
internal sealed class FaultInjectingKernel(IKernel inner, FaultInjectingHost host) : IKernel
{
    public int Open(string path, int flags, int mode) =>
        host.Decide(SystemCall.Open) is int error and < 0 ? error : inner.Open(path, flags, mode);

    // The descriptor is gone whatever close answers.
    public int Close(int fd)
    {
        int result = inner.Close(fd);
        return host.Decide(SystemCall.Close) is int error and < 0 ? error : result;
    }

    public int Ioctl(int fd, uint request, nint argument) =>
        host.Decide(SystemCall.Ioctl, request) is int error and < 0 ? error : inner.Ioctl(fd, request, argument);

    public nint Mmap(nint address, nuint length, int protection, int flags, int fd, long offset) =>
        host.Decide(SystemCall.Mmap) is int error and < 0 ? error : inner.Mmap(address, length, protection, flags, fd, offset);

    public int Munmap(nint address, nuint length) =>
        host.Decide(SystemCall.Munmap) is int error and < 0 ? error : inner.Munmap(address, length);

    public int Madvise(nint address, nuint length, int advice) =>
        host.Decide(SystemCall.Madvise) is int error and < 0 ? error : inner.Madvise(address, length, advice);

    public int Mbind(nint address, nuint length, int node) =>
        host.Decide(SystemCall.Mbind) is int error and < 0 ? error : inner.Mbind(address, length, node);

    public nint Read(int fd, nint buffer, nuint count) =>
        host.Decide(SystemCall.Read) is int error and < 0 ? error : inner.Read(fd, buffer, count);

    public nint Write(int fd, nint buffer, nuint count) =>
        host.Decide(SystemCall.Write) is int error and < 0 ? error : inner.Write(fd, buffer, count);

    public nint Pread(int fd, nint buffer, nuint count, long offset) =>
        host.Decide(SystemCall.Pread) is int error and < 0 ? error : inner.Pread(fd, buffer, count, offset);

    public nint Pwrite(int fd, nint buffer, nuint count, long offset) =>
        host.Decide(SystemCall.Pwrite) is int error and < 0 ? error : inner.Pwrite(fd, buffer, count, offset);

    public int Poll(nint descriptors, uint count, int timeoutMilliseconds) =>
        host.Decide(SystemCall.Poll) is int error and < 0 ? error : inner.Poll(descriptors, count, timeoutMilliseconds);

    public int EpollCreate(int flags) =>
        host.Decide(SystemCall.EpollCreate) is int error and < 0 ? error : inner.EpollCreate(flags);

    public int EpollControl(int epoll, int operation, int fd, uint events, ulong token) =>
        host.Decide(SystemCall.EpollControl) is int error and < 0 ? error : inner.EpollControl(epoll, operation, fd, events, token);

    public int EpollWait(int epoll, nint ready, int count, int timeoutMilliseconds) =>
        host.Decide(SystemCall.EpollWait) is int error and < 0 ? error : inner.EpollWait(epoll, ready, count, timeoutMilliseconds);

    public int EventFd(uint initialValue, int flags) =>
        host.Decide(SystemCall.EventFd) is int error and < 0 ? error : inner.EventFd(initialValue, flags);

    public int MemFdCreate(string name, uint flags) =>
        host.Decide(SystemCall.MemFdCreate) is int error and < 0 ? error : inner.MemFdCreate(name, flags);

    public int Ftruncate(int fd, long length) =>
        host.Decide(SystemCall.Ftruncate) is int error and < 0 ? error : inner.Ftruncate(fd, length);

    public int Fcntl(int fd, int command, nint argument) =>
        host.Decide(SystemCall.Fcntl) is int error and < 0 ? error : inner.Fcntl(fd, command, argument);

    public int SocketPair(int type, nint pair) =>
        host.Decide(SystemCall.SocketPair) is int error and < 0 ? error : inner.SocketPair(type, pair);

    public nint SendDescriptors(int socket, nint payload, nuint payloadLength, nint fds, int fdCount) =>
        host.Decide(SystemCall.SendDescriptors) is int error and < 0 ? error : inner.SendDescriptors(socket, payload, payloadLength, fds, fdCount);

    public nint ReceiveDescriptors(int socket, nint payload, nuint payloadLength, nint fds, ref int fdCount) =>
        host.Decide(SystemCall.ReceiveDescriptors) is int error and < 0
            ? error
            : inner.ReceiveDescriptors(socket, payload, payloadLength, fds, ref fdCount);

    public int GetResourceLimit(int resource, out ulong soft, out ulong hard)
    {
        soft = 0;
        hard = 0;
        return host.Decide(SystemCall.GetResourceLimit) is int error and < 0 ? error : inner.GetResourceLimit(resource, out soft, out hard);
    }

    public int SetResourceLimit(int resource, ulong soft, ulong hard) =>
        host.Decide(SystemCall.SetResourceLimit) is int error and < 0 ? error : inner.SetResourceLimit(resource, soft, hard);
}
