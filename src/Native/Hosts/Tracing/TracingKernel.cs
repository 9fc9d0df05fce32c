using System.Collections.Concurrent;

namespace IommuFd.Native;

/// <summary>The system calls of a <see cref="TracingHost"/>: files, events, limits. Ioctls and memory are in the other parts.</summary>
/// <param name="inner">The kernel.</param>
/// <param name="tracer">Where the trace goes.</param>
/// <param name="memory">Copies from the caller's memory, fewer bytes where it ends; null when the caller is this process.</param>
internal sealed partial class TracingKernel(IKernel inner, Tracer tracer, Func<nint, ulong, byte[]>? memory = null) : IKernel, IDisposable
{
    private byte[] Copy(nint address, ulong length) => memory is null ? _copy.Read(address, length) : memory(address, length);

    private readonly ConcurrentDictionary<int, string> _files = new();
    private readonly SafeCopy _copy = new();

    public void Dispose() => _copy.Dispose();

    public int Open(string path, int flags, int mode)
    {
        int result = inner.Open(path, flags, mode);
        Opened(path, flags, result);
        return result;
    }

    /// <summary>An open that was done elsewhere.</summary>
    internal void Opened(string path, int flags, int result)
    {
        Name(result, path);
        TraceValue named = TraceValue.Flags(
            (uint)flags, (flags & 3, (flags & 3) switch { 0 => "O_RDONLY", 1 => "O_WRONLY", _ => "O_RDWR" }), (Libc.O_NONBLOCK, "O_NONBLOCK"),
            (Libc.O_CLOEXEC, "O_CLOEXEC"));
        tracer.Write("open", [(".path", TraceValue.Quoted(path)), (".flags", named)], null, result);
    }

    public int Close(int fd)
    {
        TraceValue named = File(fd);
        _ = _files.TryRemove(fd, out _); // before the call: the number may be given out again the moment it returns
        int result = inner.Close(fd);
        tracer.Write("close", [(".fd", named)], null, result);
        return result;
    }

    public nint Read(int fd, nint buffer, nuint count)
    {
        nint result = inner.Read(fd, buffer, count);
        tracer.Write("read", [(".fd", File(fd)), (".count", TraceValue.Of((long)count))], Output(buffer, result), result);
        return result;
    }

    public nint Write(int fd, nint buffer, nuint count)
    {
        TraceValue data = TraceValue.Data(Copy(buffer, count));
        nint result = inner.Write(fd, buffer, count);
        tracer.Write("write", [(".fd", File(fd)), (".data", data), (".count", TraceValue.Of((long)count))], null, result);
        return result;
    }

    public nint Pread(int fd, nint buffer, nuint count, long offset)
    {
        nint result = inner.Pread(fd, buffer, count, offset);
        tracer.Write(
            "pread64", [(".fd", File(fd)), (".count", TraceValue.Of((long)count)), (".offset", TraceValue.Hex((ulong)offset))],
            Output(buffer, result), result);
        return result;
    }

    public nint Pwrite(int fd, nint buffer, nuint count, long offset)
    {
        TraceValue data = TraceValue.Data(Copy(buffer, count));
        nint result = inner.Pwrite(fd, buffer, count, offset);
        tracer.Write(
            "pwrite64", [(".fd", File(fd)), (".data", data), (".count", TraceValue.Of((long)count)), (".offset", TraceValue.Hex((ulong)offset))],
            null, result);
        return result;
    }

    public int Poll(nint descriptors, uint count, int timeoutMilliseconds)
    {
        int result = inner.Poll(descriptors, count, timeoutMilliseconds);
        tracer.Write("poll",
            [(".descriptors", TraceValue.Data(_copy.Read(descriptors, count * 8))), (".timeout", TraceValue.Of(timeoutMilliseconds))], null, result);
        return result;
    }

    public int EpollCreate(int flags) => Made("epoll_create1", inner.EpollCreate(flags), "epoll", (".flags", TraceValue.Hex((uint)flags)));

    public int EpollControl(int epoll, int operation, int fd, uint events, ulong token)
    {
        int result = inner.EpollControl(epoll, operation, fd, events, token);
        string named = operation switch { 1 => "EPOLL_CTL_ADD", 2 => "EPOLL_CTL_DEL", 3 => "EPOLL_CTL_MOD", _ => "?" };
        tracer.Write(
            "epoll_ctl", [(".epoll", File(epoll)), (".operation", new TraceValue(named)), (".fd", File(fd)), ("events", TraceValue.Hex(events)),
                ("data", TraceValue.Of((long)token))],
            null, result);
        return result;
    }

    public int EpollWait(int epoll, nint ready, int count, int timeoutMilliseconds)
    {
        int result = inner.EpollWait(epoll, ready, count, timeoutMilliseconds);
        tracer.Write("epoll_wait", [(".epoll", File(epoll)), (".count", TraceValue.Of(count)), (".timeout", TraceValue.Of(timeoutMilliseconds))],
            null, result);
        return result;
    }

    public int EventFd(uint initialValue, int flags) =>
        Made("eventfd2", inner.EventFd(initialValue, flags), "eventfd", (".value", TraceValue.Of(initialValue)),
            (".flags", TraceValue.Hex((uint)flags)));

    public int MemFdCreate(string name, uint flags) =>
        Made("memfd_create", inner.MemFdCreate(name, flags), $"memfd:{name}", (".name", TraceValue.Quoted(name)), (".flags", TraceValue.Hex(flags)));

    public int Ftruncate(int fd, long length)
    {
        int result = inner.Ftruncate(fd, length);
        tracer.Write("ftruncate", [(".fd", File(fd)), (".length", TraceValue.Hex((ulong)length))], null, result);
        return result;
    }

    public int Fcntl(int fd, int command, nint argument)
    {
        int result = inner.Fcntl(fd, command, argument);
        if (command == Libc.F_DUPFD_CLOEXEC && _files.TryGetValue(fd, out string? name))
        {
            Name(result, name);
        }

        tracer.Write("fcntl", [(".fd", File(fd)), (".command", TraceValue.Of(command)), (".argument", TraceValue.Hex((ulong)argument))], null,
            result);
        return result;
    }

    public int SocketPair(int type, nint pair)
    {
        int result = inner.SocketPair(type, pair);
        tracer.Write("socketpair", [(".type", TraceValue.Hex((uint)type))],
            result < 0 ? null : [("pair", TraceValue.Data(_copy.Read(pair, 8)))], result);
        return result;
    }

    public nint SendDescriptors(int socket, nint payload, nuint payloadLength, nint fds, int fdCount)
    {
        nint result = inner.SendDescriptors(socket, payload, payloadLength, fds, fdCount);
        tracer.Write("sendmsg", [(".socket", File(socket)), ("data", TraceValue.Data(_copy.Read(payload, payloadLength))),
            ("descriptors", TraceValue.Of(fdCount))], null, result);
        return result;
    }

    public nint ReceiveDescriptors(int socket, nint payload, nuint payloadLength, nint fds, ref int fdCount)
    {
        nint result = inner.ReceiveDescriptors(socket, payload, payloadLength, fds, ref fdCount);
        tracer.Write("recvmsg", [(".socket", File(socket))], [.. Output(payload, result) ?? [], ("descriptors", TraceValue.Of(fdCount))], result);
        return result;
    }

    public int GetResourceLimit(int resource, out ulong soft, out ulong hard)
    {
        int result = inner.GetResourceLimit(resource, out soft, out hard);
        tracer.Write("getrlimit", [(".resource", TraceValue.Of(resource))], [("soft", TraceValue.Hex(soft)), ("hard", TraceValue.Hex(hard))], result);
        return result;
    }

    public int SetResourceLimit(int resource, ulong soft, ulong hard)
    {
        int result = inner.SetResourceLimit(resource, soft, hard);
        tracer.Write("setrlimit", [(".resource", TraceValue.Of(resource)), ("soft", TraceValue.Hex(soft)), ("hard", TraceValue.Hex(hard))], null,
            result);
        return result;
    }

    private int Made(string call, int result, string name, params (string, TraceValue)[] input)
    {
        Name(result, name);
        tracer.Write(call, input, null, result);
        return result;
    }

    private void Name(int fd, string name)
    {
        if (fd >= 0)
        {
            _files[fd] = name;
        }
    }

    private TraceValue File(int fd) => new(_files.TryGetValue(fd, out string? name) ? $"{fd}<{name}>" : $"{fd}");

    private List<(string, TraceValue)>? Output(nint buffer, nint result) => result <= 0
        ? null
        : [("data", TraceValue.Data(Copy(buffer, (ulong)result)))];
}
