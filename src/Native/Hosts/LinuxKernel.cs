using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace IommuFd.Native;

/// <summary>The running kernel's system calls. Stateless: every instance is the same.</summary>
public sealed unsafe class LinuxKernel : IKernel
{
    private const int AF_UNIX = 1, SOL_SOCKET = 1, SCM_RIGHTS = 1, MSG_CMSG_CLOEXEC = 0x40000000, MPOL_PREFERRED = 1;
    private const int MaximumDescriptors = 253; // SCM_MAX_FD
    private const int ControlHeader = 16;       // sizeof(struct cmsghdr), LP64

    // The stub of SetLastError stores errno before any other code of the runtime can change it.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Result(int result) => result >= 0 ? result : -Marshal.GetLastPInvokeError();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static nint Result(nint result) => result >= 0 ? result : -Marshal.GetLastPInvokeError();

    /// <inheritdoc/>
    public int Open(string path, int flags, int mode) => Result(Libc.Open(path, flags, mode));

    /// <inheritdoc/>
    public int Close(int fd) => Result(Libc.Close(fd));

    /// <inheritdoc/>
    public int Ioctl(int fd, uint request, nint argument)
    {
        int result = Libc.IoctlPlain(fd, request, argument);
        return result >= 0 ? result : -Marshal.GetLastSystemError();
    }

    /// <inheritdoc/>
    public nint Mmap(nint address, nuint length, int protection, int flags, int fd, long offset)
    {
        nint result = Libc.Mmap(address, length, protection, flags, fd, offset);
        return result != -1 ? result : -Marshal.GetLastPInvokeError();
    }

    /// <inheritdoc/>
    public int Munmap(nint address, nuint length) => Result(Libc.Munmap(address, length));

    /// <inheritdoc/>
    public int Madvise(nint address, nuint length, int advice) => Result(Libc.Madvise(address, length, advice));

    /// <inheritdoc/>
    public int Mbind(nint address, nuint length, int node)
    {
        if (node is < 0 or > 1022)
        {
            return -Errno.EINVAL;
        }

        nint number = RuntimeInformation.ProcessArchitecture == Architecture.X64 ? 237 : 235; // __NR_mbind: x86-64 and asm-generic
        ulong* mask = stackalloc ulong[16];
        new Span<ulong>(mask, 16).Clear();
        mask[node / 64] = 1UL << (node % 64);
        return (int)Result(Libc.Syscall(number, address, (nint)length, MPOL_PREFERRED, (nint)mask, 1024, 0));
    }

    /// <inheritdoc/>
    public nint Read(int fd, nint buffer, nuint count) => Result(Libc.Read(fd, buffer, count));

    /// <inheritdoc/>
    public nint Write(int fd, nint buffer, nuint count) => Result(Libc.Write(fd, buffer, count));

    /// <inheritdoc/>
    public nint Pread(int fd, nint buffer, nuint count, long offset) => Result(Libc.Pread(fd, buffer, count, offset));

    /// <inheritdoc/>
    public nint Pwrite(int fd, nint buffer, nuint count, long offset) => Result(Libc.Pwrite(fd, buffer, count, offset));

    /// <inheritdoc/>
    public int Poll(nint descriptors, uint count, int timeoutMilliseconds) => Result(Libc.Poll(descriptors, count, timeoutMilliseconds));

    /// <inheritdoc/>
    public int EpollCreate(int flags) => Result(Libc.EpollCreate(flags));

    // struct epoll_event is packed on x86-64 only: 12 bytes with the data at 4, elsewhere 16 with the data at 8.
    private static readonly bool s_packedEpoll = RuntimeInformation.ProcessArchitecture == Architecture.X64;

    /// <inheritdoc/>
    public int EpollControl(int epoll, int operation, int fd, uint events, ulong token)
    {
        byte* item = stackalloc byte[16];
        Unsafe.WriteUnaligned(item, events);
        Unsafe.WriteUnaligned(item + (s_packedEpoll ? 4 : 8), token);
        return Result(Libc.EpollControl(epoll, operation, fd, item));
    }

    /// <inheritdoc/>
    public int EpollWait(int epoll, nint ready, int count, int timeoutMilliseconds)
    {
        int stride = s_packedEpoll ? 12 : 16, token = s_packedEpoll ? 4 : 8;
        byte* items = stackalloc byte[64 * 16];
        int found = Result(Libc.EpollWait(epoll, items, Math.Min(count, 64), timeoutMilliseconds));

        // SAFETY: the caller owns `count` entries at `ready`; the kernel filled `found` <= min(count, 64) of ours.
        for (int i = 0; i < found; i++)
        {
            ((EpollReady*)ready)[i] = new EpollReady
            {
                Token = Unsafe.ReadUnaligned<ulong>(items + (i * stride) + token),
                Events = Unsafe.ReadUnaligned<uint>(items + (i * stride)),
            };
        }

        return found;
    }

    /// <inheritdoc/>
    public int EventFd(uint initialValue, int flags) => Result(Libc.EventFd(initialValue, flags));

    /// <inheritdoc/>
    public int MemFdCreate(string name, uint flags) => Result(Libc.MemFdCreate(name, flags));

    /// <inheritdoc/>
    public int Ftruncate(int fd, long length) => Result(Libc.Ftruncate(fd, length));

    /// <inheritdoc/>
    public int Fcntl(int fd, int command, nint argument) => Result(Libc.Fcntl(fd, command, argument));

    /// <inheritdoc/>
    public int SocketPair(int type, nint pair) => Result(Libc.SocketPair(AF_UNIX, type, 0, pair));

    /// <inheritdoc/>
    public nint SendDescriptors(int socket, nint payload, nuint payloadLength, nint fds, int fdCount)
    {
        if (fdCount is < 0 or > MaximumDescriptors)
        {
            return -Errno.EINVAL;
        }

        // SAFETY: the control buffer has room for the header and 253 descriptors, in 8-byte units as CMSG_ALIGN asks.
        ulong* control = stackalloc ulong[(ControlHeader + (MaximumDescriptors * 4) + 7) / 8];
        control[0] = (ulong)(ControlHeader + (fdCount * 4));
        ((int*)control)[2] = SOL_SOCKET;
        ((int*)control)[3] = SCM_RIGHTS;
        new ReadOnlySpan<int>((void*)fds, fdCount).CopyTo(new Span<int>((byte*)control + ControlHeader, fdCount));

        Libc.IoVector vector = new() { Base = (void*)payload, Length = payloadLength };
        Libc.MessageHeader header = new() { Vectors = &vector, VectorCount = 1 };
        if (fdCount > 0)
        {
            header.Control = control;
            header.ControlLength = (nuint)(ControlHeader + (((fdCount * 4) + 7) & ~7));
        }

        return Result(Libc.SendMessage(socket, &header, 0));
    }

    /// <inheritdoc/>
    public nint ReceiveDescriptors(int socket, nint payload, nuint payloadLength, nint fds, ref int fdCount)
    {
        if (fdCount is < 0 or > MaximumDescriptors)
        {
            return -Errno.EINVAL;
        }

        int room = fdCount;
        fdCount = 0;
        ulong* control = stackalloc ulong[(ControlHeader + (MaximumDescriptors * 4) + 7) / 8];
        Libc.IoVector vector = new() { Base = (void*)payload, Length = payloadLength };
        Libc.MessageHeader header = new()
        {
            Vectors = &vector,
            VectorCount = 1,
            Control = control,
            ControlLength = (nuint)(ControlHeader + (((room * 4) + 7) & ~7)),
        };

        nint result = Result(Libc.ReceiveMessage(socket, &header, MSG_CMSG_CLOEXEC));
        if (result >= 0 && header.ControlLength >= ControlHeader && ((int*)control)[2] == SOL_SOCKET && ((int*)control)[3] == SCM_RIGHTS)
        {
            // SAFETY: the kernel writes no more descriptors than the control length it was given holds; the padding may let one more than `room` in.
            int received = (int)((control[0] - ControlHeader) / 4);
            int* descriptors = (int*)((byte*)control + ControlHeader);
            for (int i = 0; i < received; i++)
            {
                if (i < room)
                {
                    ((int*)fds)[fdCount++] = descriptors[i];
                }
                else
                {
                    _ = Libc.Close(descriptors[i]);
                }
            }
        }

        return result;
    }

    /// <inheritdoc/>
    public int GetResourceLimit(int resource, out ulong soft, out ulong hard)
    {
        ulong* pair = stackalloc ulong[2];
        int result = Result(Libc.GetResourceLimit(resource, pair));
        (soft, hard) = result < 0 ? (0, 0) : (pair[0], pair[1]);
        return result;
    }

    /// <inheritdoc/>
    public int SetResourceLimit(int resource, ulong soft, ulong hard)
    {
        ulong* pair = stackalloc ulong[2] { soft, hard };
        return Result(Libc.SetResourceLimit(resource, pair));
    }
}
