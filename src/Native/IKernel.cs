namespace IommuFd.Native;

/// <summary>
/// The system calls that device passthrough needs. Every method returns a value &gt;= 0, or <c>-errno</c> (see <see cref="Errno"/>); none throws
/// for a kernel error and none retries EINTR unless it says so. Signatures are of primitive types only, so that they can be proxied and replaced.
/// </summary>
/// <remarks>
/// Addresses are passed as <see cref="nint"/>; a caller that passes a wrong one gets -EFAULT from the kernel and from the simulator.
/// </remarks>
public interface IKernel
{
    /// <summary>open(2). <paramref name="flags"/> are <see cref="Libc.O_RDWR"/> and its kin; O_CLOEXEC is not added.</summary>
    int Open(string path, int flags, int mode);

    /// <summary>close(2). Never retried: after EINTR the descriptor is gone.</summary>
    int Close(int fd);

    /// <summary>ioctl(2). <paramref name="argument"/> is an address or, for commands that say so, a value.</summary>
    int Ioctl(int fd, uint request, nint argument);

    /// <summary>mmap(2): the address, or -errno (-4095..-1).</summary>
    nint Mmap(nint address, nuint length, int protection, int flags, int fd, long offset);

    /// <summary>munmap(2).</summary>
    int Munmap(nint address, nuint length);

    /// <summary>madvise(2).</summary>
    int Madvise(nint address, nuint length, int advice);

    /// <summary>mbind(2) with one preferred node: memory of the range is allocated on <paramref name="node"/> from now on.</summary>
    int Mbind(nint address, nuint length, int node);

    /// <summary>read(2).</summary>
    nint Read(int fd, nint buffer, nuint count);

    /// <summary>write(2).</summary>
    nint Write(int fd, nint buffer, nuint count);

    /// <summary>pread64(2): the way into a VFIO region.</summary>
    nint Pread(int fd, nint buffer, nuint count, long offset);

    /// <summary>pwrite64(2).</summary>
    nint Pwrite(int fd, nint buffer, nuint count, long offset);

    /// <summary>
    /// poll(2) over <paramref name="count"/> <see cref="PollDescriptor"/>s at <paramref name="descriptors"/>; a timeout of -1 ms is for ever.
    /// </summary>
    int Poll(nint descriptors, uint count, int timeoutMilliseconds);

    /// <summary>epoll_create1(2).</summary>
    int EpollCreate(int flags);

    /// <summary>epoll_ctl(2). <paramref name="token"/> comes back in <see cref="EpollReady.Token"/>.</summary>
    int EpollControl(int epoll, int operation, int fd, uint events, ulong token);

    /// <summary>epoll_wait(2) into <paramref name="count"/> <see cref="EpollReady"/>s (at most 64 a call) at <paramref name="ready"/>.</summary>
    int EpollWait(int epoll, nint ready, int count, int timeoutMilliseconds);

    /// <summary>eventfd(2).</summary>
    int EventFd(uint initialValue, int flags);

    /// <summary>memfd_create(2).</summary>
    int MemFdCreate(string name, uint flags);

    /// <summary>ftruncate(2).</summary>
    int Ftruncate(int fd, long length);

    /// <summary>fcntl(2).</summary>
    int Fcntl(int fd, int command, nint argument);

    /// <summary>socketpair(2) of AF_UNIX sockets; the two descriptors are stored at <paramref name="pair"/> (two ints).</summary>
    int SocketPair(int type, nint pair);

    /// <summary>
    /// sendmsg(2) of <paramref name="payloadLength"/> bytes with <paramref name="fdCount"/> descriptors (ints at <paramref name="fds"/>) as
    /// SCM_RIGHTS.
    /// At most 253 descriptors.
    /// </summary>
    nint SendDescriptors(int socket, nint payload, nuint payloadLength, nint fds, int fdCount);

    /// <summary>
    /// recvmsg(2) of a message sent by <see cref="SendDescriptors"/>; <paramref name="fdCount"/> holds the room at <paramref name="fds"/> on entry
    /// and the number received on return. The descriptors are close-on-exec.
    /// </summary>
    nint ReceiveDescriptors(int socket, nint payload, nuint payloadLength, nint fds, ref int fdCount);

    /// <summary>getrlimit(2); ulong.MaxValue is RLIM_INFINITY.</summary>
    int GetResourceLimit(int resource, out ulong soft, out ulong hard);

    /// <summary>setrlimit(2).</summary>
    int SetResourceLimit(int resource, ulong soft, ulong hard);
}
