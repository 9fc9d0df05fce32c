namespace IommuFd.Native;

/// <summary>The kernel of a capture: nothing can be opened or changed, so every call is -EROFS; <see cref="Close"/> of whatever is -EBADF.</summary>
internal sealed class CapturedKernel : IKernel
{
    public int Open(string path, int flags, int mode) => -Errno.EROFS;

    public int Close(int fd) => -Errno.EBADF;

    public int Ioctl(int fd, uint request, nint argument) => -Errno.EROFS;

    public nint Mmap(nint address, nuint length, int protection, int flags, int fd, long offset) => -Errno.EROFS;

    public int Munmap(nint address, nuint length) => -Errno.EROFS;

    public int Madvise(nint address, nuint length, int advice) => -Errno.EROFS;

    public int Mbind(nint address, nuint length, int node) => -Errno.EROFS;

    public nint Read(int fd, nint buffer, nuint count) => -Errno.EROFS;

    public nint Write(int fd, nint buffer, nuint count) => -Errno.EROFS;

    public nint Pread(int fd, nint buffer, nuint count, long offset) => -Errno.EROFS;

    public nint Pwrite(int fd, nint buffer, nuint count, long offset) => -Errno.EROFS;

    public int Poll(nint descriptors, uint count, int timeoutMilliseconds) => -Errno.EROFS;

    public int EpollCreate(int flags) => -Errno.EROFS;

    public int EpollControl(int epoll, int operation, int fd, uint events, ulong token) => -Errno.EROFS;

    public int EpollWait(int epoll, nint ready, int count, int timeoutMilliseconds) => -Errno.EROFS;

    public int EventFd(uint initialValue, int flags) => -Errno.EROFS;

    public int MemFdCreate(string name, uint flags) => -Errno.EROFS;

    public int Ftruncate(int fd, long length) => -Errno.EROFS;

    public int Fcntl(int fd, int command, nint argument) => -Errno.EROFS;

    public int SocketPair(int type, nint pair) => -Errno.EROFS;

    public nint SendDescriptors(int socket, nint payload, nuint payloadLength, nint fds, int fdCount) => -Errno.EROFS;

    public nint ReceiveDescriptors(int socket, nint payload, nuint payloadLength, nint fds, ref int fdCount) => -Errno.EROFS;

    public int GetResourceLimit(int resource, out ulong soft, out ulong hard)
    {
        soft = 0;
        hard = 0;
        return -Errno.EROFS;
    }

    public int SetResourceLimit(int resource, ulong soft, ulong hard) => -Errno.EROFS;
}
