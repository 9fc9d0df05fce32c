using IommuFd.Native;
using Libc = IommuFd.Native.Libc;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// The system calls of a simulated machine: files of the machine are served here, everything else (memory, eventfds, sockets, polling) is the real
/// kernel's.
/// </summary>
/// <remarks>
/// Does not model: signals. Linux's iommufd and VFIO have no call that EINTR ends: queues are read without waiting, and who unbinds a device that is
/// in use waits on after a signal. Waiting itself (poll, epoll, eventfds) is the real kernel's, EINTR included; for the rest there is
/// FaultInjectingHost.
/// </remarks>
internal sealed unsafe class SimulatedKernel : IKernel
{
    private static readonly string[] s_realDevices = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/shm/",
        "/dev/hugepages/", "/dev/fd/"];
    private readonly LinuxKernel _real;
    private readonly FileTree _tree;
    private readonly DescriptorTable _table;
    private readonly MachineProcess _process;
    private readonly InProcessUserMemory _known;
    private readonly PhysicalMemory _memory;
    private readonly IUserMemory _user;
    private readonly FileMappings _mappings = new();

    public SimulatedKernel(LinuxKernel real, FileTree tree, DescriptorTable table, MachineProcess process, InProcessUserMemory user,
        PhysicalMemory memory, FailNth? faults)
    {
        _real = real;
        _tree = tree;
        _table = table;
        _process = process;
        _known = user;
        _memory = memory;
        _user = faults is null ? user : new FailingUserMemory(user, faults);
    }

    /// <inheritdoc/>
    public int Open(string path, int flags, int mode)
    {
        if (!IsSimulated(path))
        {
            return _real.Open(path, flags, mode);
        }

        int error = _tree.Find(path, true, out FileNode? node);
        if (error < 0)
        {
            return error;
        }

        if (node is DirectoryNode)
        {
            return -Errno.EISDIR;
        }

        SimulatedFile? file;
        if (node is DeviceNode device)
        {
            if (!_process.Permits(device, flags))
            {
                return -Errno.EACCES;
            }

            error = device.Open(flags, out file);
        }
        else
        {
            error = AttributeFile.Open((AttributeNode)node!, flags, out file);
        }

        if (error < 0)
        {
            return error;
        }

        int descriptor = _table.Install(file!);
        if (descriptor < 0)
        {
            file!.Put();
            return descriptor;
        }

        if ((flags & Libc.O_CLOEXEC) == 0)
        {
            _ = _real.Fcntl(descriptor, Libc.F_SETFD, 0);
        }

        if ((flags & Libc.O_NONBLOCK) != 0)
        {
            file!.NonBlocking = true;
        }

        return descriptor;
    }

    /// <summary>The machine is gone: what was unmapped while it was pinned is given back.</summary>
    internal void FreePinned() => _known.FreeAliases();

    /// <inheritdoc/>
    public int Close(int fd) => _table.Has(fd) ? _table.Close(fd) : _table.WasClosedAtTheEnd(fd) ? -Errno.EBADF : _real.Close(fd);

    /// <inheritdoc/>
    public int Ioctl(int fd, uint request, nint argument)
    {
        if (_table.Get(fd) is not { } file)
        {
            return _real.Ioctl(fd, request, argument);
        }

        int result = file.Ioctl(request, (ulong)argument, _user);
        file.Put();
        return result;
    }

    /// <inheritdoc/>
    public nint Mmap(nint address, nuint length, int protection, int flags, int fd, long offset)
    {
        nint result;
        if ((flags & Libc.MAP_ANONYMOUS) == 0 && _table.Get(fd) is { } file)
        {
            result = file.Mmap(address, length, protection, flags, offset);
            if (Failed(result))
            {
                file.Put();
                return result;
            }

            // A mapping keeps its file open until the last page of it is gone.
            Forget(result, length);
            _mappings.Add(result, length, file.ForMapping(offset));
            _known.AddDeviceMapping(result, length);
            file.Put();
            return result;
        }

        const int readWrite = Libc.PROT_READ | Libc.PROT_WRITE;
        bool isKnown = (flags & (Libc.MAP_ANONYMOUS | Libc.MAP_GROWSDOWN)) == Libc.MAP_ANONYMOUS && (protection & readWrite) == readWrite;
        if (isKnown)
        {
            // Shared, so that devices can have a mapping of their own (PageAlias).
            flags = (flags & ~Libc.MAP_PRIVATE) | Libc.MAP_SHARED;
        }

        result = _real.Mmap(address, length, protection, flags, fd, offset);
        if (!Failed(result))
        {
            Forget(result, length);
            if (isKnown)
            {
                _known.AddMapping(result, length);
            }
        }

        return result;
    }

    /// <inheritdoc/>
    public int Munmap(nint address, nuint length)
    {
        // Forgotten first: as soon as it is unmapped, another thread may be given the addresses.
        if (address % 4096 == 0)
        {
            _known.RemoveMapping(address, length);
        }

        int result = _real.Munmap(address, length);
        if (result == 0)
        {
            _mappings.Remove(address, length);
        }

        return result;
    }

    /// <inheritdoc/>
    public int Madvise(nint address, nuint length, int advice)
    {
        // Shared pages would only leave the page table: new ones in their place, and devices keep the old, as on Linux.
        return advice == Libc.MADV_DONTNEED && _known.IsKnown((ulong)address, length)
            ? (int)nint.Min(0, Mmap(address, length, Libc.PROT_READ | Libc.PROT_WRITE, Libc.MAP_SHARED | Libc.MAP_ANONYMOUS | Libc.MAP_FIXED, -1, 0))
            : _real.Madvise(address, length, advice);
    }

    /// <inheritdoc/>
    public int Mbind(nint address, nuint length, int node) => _real.Mbind(address, length, node);

    /// <inheritdoc/>
    public nint Read(int fd, nint buffer, nuint count)
    {
        if (_table.Get(fd) is not { } file)
        {
            return _real.Read(fd, buffer, count);
        }

        nint result = file.Read((ulong)buffer, count, _user);
        file.Put();
        return result;
    }

    /// <inheritdoc/>
    public nint Write(int fd, nint buffer, nuint count)
    {
        if (_table.Get(fd) is not { } file)
        {
            return _real.Write(fd, buffer, count);
        }

        nint result = file.Write((ulong)buffer, count, _user);
        file.Put();
        return result;
    }

    /// <inheritdoc/>
    public nint Pread(int fd, nint buffer, nuint count, long offset)
    {
        if (_table.Enter(fd, out int entered) is not { } file)
        {
            return _real.Pread(fd, buffer, count, offset);
        }

        nint result = offset < 0 ? -Errno.EINVAL : file.Pread((ulong)buffer, count, offset, _user);
        file.Exit(entered);
        return result;
    }

    /// <inheritdoc/>
    public nint Pwrite(int fd, nint buffer, nuint count, long offset)
    {
        if (_table.Enter(fd, out int entered) is not { } file)
        {
            return _real.Pwrite(fd, buffer, count, offset);
        }

        nint result = offset < 0 ? -Errno.EINVAL : file.Pwrite((ulong)buffer, count, offset, _user);
        file.Exit(entered);
        return result;
    }

    /// <inheritdoc/>
    public int Poll(nint descriptors, uint count, int timeoutMilliseconds) => _real.Poll(descriptors, count, timeoutMilliseconds);

    /// <inheritdoc/>
    public int EpollCreate(int flags) => _real.EpollCreate(flags);

    /// <inheritdoc/>
    public int EpollControl(int epoll, int operation, int fd, uint events, ulong token) => _real.EpollControl(epoll, operation, fd, events, token);

    /// <inheritdoc/>
    public int EpollWait(int epoll, nint ready, int count, int timeoutMilliseconds) => _real.EpollWait(epoll, ready, count, timeoutMilliseconds);

    /// <inheritdoc/>
    public int EventFd(uint initialValue, int flags) => _real.EventFd(initialValue, flags);

    /// <inheritdoc/>
    public int MemFdCreate(string name, uint flags) => _real.MemFdCreate(name, flags);

    /// <inheritdoc/>
    public int Ftruncate(int fd, long length) => 
        _table.Has(fd) ? -Errno.EINVAL : _process.PinnedPages.Pages == 0 ? _real.Ftruncate(fd, length) : CutFile.Truncate(_real, _memory, fd, length);

    /// <inheritdoc/>
    public int Fcntl(int fd, int command, nint argument)
    {
        int result = _real.Fcntl(fd, command, argument);
        if (result >= 0 && _table.Get(fd) is { } file)
        {
            if (command is 0 or Libc.F_DUPFD_CLOEXEC)
            {
                _table.Duplicate(file, result);
            }
            else if (command == Libc.F_SETFL)
            {
                file.NonBlocking = (argument & Libc.O_NONBLOCK) != 0;
            }

            file.Put();
        }

        return result;
    }

    /// <inheritdoc/>
    public int SocketPair(int type, nint pair) => _real.SocketPair(type, pair);

    /// <inheritdoc/>
    public nint SendDescriptors(int socket, nint payload, nuint payloadLength, nint fds, int fdCount)
    {
        // The files must be on their way before the receiver can have the descriptors.
        if (fdCount is > 0 and <= 253)
        {
            _table.Sent((int*)fds, fdCount);
        }

        nint result = _real.SendDescriptors(socket, payload, payloadLength, fds, fdCount);
        if (result < 0 && fdCount is > 0 and <= 253)
        {
            _table.TakeBack((int*)fds, fdCount);
        }

        return result;
    }

    /// <inheritdoc/>
    public nint ReceiveDescriptors(int socket, nint payload, nuint payloadLength, nint fds, ref int fdCount)
    {
        nint result = _real.ReceiveDescriptors(socket, payload, payloadLength, fds, ref fdCount);
        if (result >= 0)
        {
            _table.Received((int*)fds, fdCount);
        }

        return result;
    }

    /// <inheritdoc/>
    public int GetResourceLimit(int resource, out ulong soft, out ulong hard)
    {
        if (resource != Libc.RLIMIT_MEMLOCK)
        {
            return _real.GetResourceLimit(resource, out soft, out hard);
        }

        soft = hard = _process.MemlockLimit;
        return 0;
    }

    /// <inheritdoc/>
    public int SetResourceLimit(int resource, ulong soft, ulong hard)
    {
        if (resource != Libc.RLIMIT_MEMLOCK)
        {
            return _real.SetResourceLimit(resource, soft, hard);
        }

        if (soft > hard)
        {
            return -Errno.EINVAL;
        }

        if (hard > _process.MemlockLimit && !_process.Capable(Capabilities.SysResource))
        {
            return -Errno.EPERM;
        }

        _process.SetMemlockLimit(soft);
        return 0;
    }

    private static bool Failed(nint result) => result is < 0 and >= -4095;

    private static bool IsSimulated(string path)
    {
        if (path.StartsWith("/sys/", StringComparison.Ordinal))
        {
            return true;
        }

        if (path.StartsWith("/proc/", StringComparison.Ordinal))
        {
            return !path.StartsWith("/proc/self/", StringComparison.Ordinal);
        }

        return path.StartsWith("/dev/", StringComparison.Ordinal)
            && !Array.Exists(s_realDevices, real => path.StartsWith(real, StringComparison.Ordinal));
    }

    private void Forget(nint address, nuint length)
    {
        _known.RemoveMapping(address, length);
        _mappings.Remove(address, length);
    }
}
