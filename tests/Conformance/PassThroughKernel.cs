using IommuFd.Native;

namespace Conformance;

/// <summary>A kernel behind another one: every call goes through but what a heir answers itself.</summary>
internal abstract class PassThroughKernel(IKernel inner) : IKernel
{
    public virtual int Open(string path, int flags, int mode) => inner.Open(path, flags, mode);

    public virtual int Close(int fd) => inner.Close(fd);

    public virtual int Ioctl(int fd, uint request, nint argument) => inner.Ioctl(fd, request, argument);

    public nint Mmap(nint address, nuint length, int protection, int flags, int fd, long offset) =>
        inner.Mmap(address, length, protection, flags, fd, offset);

    public int Munmap(nint address, nuint length) => inner.Munmap(address, length);

    public int Madvise(nint address, nuint length, int advice) => inner.Madvise(address, length, advice);

    public int Mbind(nint address, nuint length, int node) => inner.Mbind(address, length, node);

    public nint Read(int fd, nint buffer, nuint count) => inner.Read(fd, buffer, count);

    public nint Write(int fd, nint buffer, nuint count) => inner.Write(fd, buffer, count);

    public nint Pread(int fd, nint buffer, nuint count, long offset) => inner.Pread(fd, buffer, count, offset);

    public virtual nint Pwrite(int fd, nint buffer, nuint count, long offset) => inner.Pwrite(fd, buffer, count, offset);

    public int Poll(nint descriptors, uint count, int timeoutMilliseconds) => inner.Poll(descriptors, count, timeoutMilliseconds);

    public int EpollCreate(int flags) => inner.EpollCreate(flags);

    public int EpollControl(int epoll, int operation, int fd, uint events, ulong token) => inner.EpollControl(epoll, operation, fd, events, token);

    public int EpollWait(int epoll, nint ready, int count, int timeoutMilliseconds) => inner.EpollWait(epoll, ready, count, timeoutMilliseconds);

    public int EventFd(uint initialValue, int flags) => inner.EventFd(initialValue, flags);

    public int MemFdCreate(string name, uint flags) => inner.MemFdCreate(name, flags);

    public int Ftruncate(int fd, long length) => inner.Ftruncate(fd, length);

    public int Fcntl(int fd, int command, nint argument) => inner.Fcntl(fd, command, argument);

    public int SocketPair(int type, nint pair) => inner.SocketPair(type, pair);

    public nint SendDescriptors(int socket, nint payload, nuint payloadLength, nint fds, int fdCount) =>
        inner.SendDescriptors(socket, payload, payloadLength, fds, fdCount);

    public nint ReceiveDescriptors(int socket, nint payload, nuint payloadLength, nint fds, ref int fdCount) =>
        inner.ReceiveDescriptors(socket, payload, payloadLength, fds, ref fdCount);

    public int GetResourceLimit(int resource, out ulong soft, out ulong hard) => inner.GetResourceLimit(resource, out soft, out hard);

    public int SetResourceLimit(int resource, ulong soft, ulong hard) => inner.SetResourceLimit(resource, soft, hard);
}
