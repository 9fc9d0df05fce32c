using System.Buffers.Text;
using System.Runtime.InteropServices;
using IommuFd.HwSim.Kernel;
using IommuFd.Native;
using Libc = IommuFd.Native.Libc;

namespace IommuFd.HwSim.Foreign;

/// <summary>
/// The simulated machine's open files in other processes. What a program holds is one end of a socket pair; the other end is here. So dup, fork,
/// SCM_RIGHTS and exec need no attention: whichever number leads to that socket leads to the file, and when the last one is closed, by a close or by
/// a death, our end hangs up.
/// </summary>
/// <remarks>
/// Numbers are given from a reserved range at the top of RLIMIT_NOFILE, where the filter recognises them by number. Closing is noticed at the next
/// call that is served, which is before the program can see that it was not.
/// </remarks>
internal sealed unsafe class ForeignDescriptors : IDisposable
{
    private const int ExitMilliseconds = 100;
    private const string SocketPrefix = "socket:[";

    private readonly Lock _gate = new();
    private readonly Lock _draining = new();
    private readonly Dictionary<ulong, ForeignDescriptor> _byInode = [];
    private readonly Dictionary<int, ForeignDescriptor> _byOurEnd = [];
    private readonly ForeignNumbers _numbers;
    private readonly ThreadLocal<ServedCall> _served = new();
    private readonly int _hangups = Libc.EpollCreate(Libc.EPOLL_CLOEXEC);
    private readonly int _first;
    private readonly int _end;
    private readonly LinuxKernel _real = new();
    private int _next;

    /// <summary>
    /// Files get numbers from <paramref name="first"/> up to, but not including, <paramref name="end"/>, which <paramref name="numbers"/> then knows.
    /// </summary>
    public ForeignDescriptors(int first, int end, ForeignNumbers numbers)
    {
        _numbers = numbers;
        _first = first;
        _end = end;
        _next = first;
    }

    /// <summary>Told of every file whose last descriptor was closed, before it is released, with the number it was opened as.</summary>
    public Action<SimulatedFile, ForeignProcess, int>? Closing { get; set; }

    /// <summary>An epoll descriptor that is readable when a file was closed: <see cref="Drain"/> then.</summary>
    public int Hangups => _hangups;

    /// <summary>The call that this thread serves: descriptors go to its caller.</summary>
    public void Serve(SeccompListener listener, ulong call) => _served.Value = new ServedCall(listener, call);

    /// <summary>Gives a file a number in the process whose call this thread serves; the table then owns the caller's reference.</summary>
    /// <returns>The number, or -errno; then the caller keeps the reference.</returns>
    public int Install(ForeignProcess process, SimulatedFile file, bool closeOnExec = true, bool answer = false, PathStatus? status = null)
    {
        var pair = stackalloc int[2];
        var rc = _real.SocketPair(Libc.SOCK_SEQPACKET | Libc.SOCK_CLOEXEC | Libc.SOCK_NONBLOCK, (nint)pair);
        if (rc < 0)
        {
            return rc;
        }

        var entry = new ForeignDescriptor(file, process, pair[0], InodeOf(pair[1])) { Status = status };
        if (file.HasReadiness)
        {
            file.ReadinessChanged = entry.SetReadable;
        }

        lock (_gate)
        {
            _byInode[entry.Inode] = entry;
            _byOurEnd[entry.OurEnd] = entry;
        }

        var served = _served.Value;
        rc = FreeNumber(process);
        if (rc >= 0)
        {
            rc = served.Listener.AddDescriptor(served.Call, pair[1], rc, closeOnExec, answer: false);
        }

        // The program's end must be nowhere but in the program, or it would never hang up.
        _ = Libc.Close(pair[1]);
        if (rc < 0)
        {
            Forget(entry);
            return rc;
        }

        _numbers.Set(process, rc, entry);
        _ = _real.EpollControl(_hangups, Libc.EPOLL_CTL_ADD, entry.OurEnd, 0, (ulong)entry.OurEnd);
        if (answer)
        {
            // Only now: a program that closes at once must find that it held the last end.
            served.Listener.Answer(served.Call, rc);
        }

        return rc;
    }

    /// <summary>dup(2) of a descriptor of the range: a second number in the range, as the call's answer.</summary>
    public int Duplicate(ForeignProcess process, int descriptor, bool closeOnExec)
    {
        var copy = process.DuplicateDescriptor(descriptor);
        if (copy < 0)
        {
            return copy;
        }

        var served = _served.Value;
        var rc = FreeNumber(process);
        if (rc >= 0)
        {
            rc = served.Listener.AddDescriptor(served.Call, copy, rc, closeOnExec, answer: true);
        }

        _ = Libc.Close(copy);
        return rc;
    }

    /// <summary>The simulated file behind a number of a process, with a reference taken; null when it is the host's or closed.</summary>
    public SimulatedFile? Get(ForeignProcess process, int descriptor) =>
        (_numbers.Get(process, descriptor) ?? Find(process, descriptor)) is { } entry && entry.File.TryGet() ? entry.File : null;

    /// <summary><see cref="Get"/> of a number that was installed again while this call is served.</summary>
    public SimulatedFile? GetInstalled(ForeignProcess process, int descriptor)
    {
        if (Find(process, descriptor) is { } entry)
        {
            _numbers.Set(process, descriptor, entry);
        }

        return Get(process, descriptor);
    }

    // Asks the host.
    private ForeignDescriptor? Find(ForeignProcess process, int descriptor)
    {
        const int Room = 40;
        var text = stackalloc byte[Room];
        var length = process.DescribeDescriptor(descriptor, text, Room);
        if (length <= SocketPrefix.Length || text[0] != 's' || text[7] != '[' ||
            !Utf8Parser.TryParse(new ReadOnlySpan<byte>(text + SocketPrefix.Length, length - SocketPrefix.Length), out ulong inode, out _))
        {
            return null;
        }

        lock (_gate)
        {
            return _byInode.GetValueOrDefault(inode);
        }
    }

    /// <summary>What fstat(2) says of a file that was opened by a path; null for others.</summary>
    public PathStatus? StatusOf(SimulatedFile file)
    {
        lock (_gate)
        {
            return _byInode.Values.FirstOrDefault(entry => entry.File == file)?.Status;
        }
    }

    /// <summary>After a read of an event queue that emptied it: takes back the byte that made the descriptor readable.</summary>
    public void TakeBackReadiness(ForeignProcess process, int descriptor, SimulatedFile file)
    {
        ForeignDescriptor? entry;
        lock (_gate)
        {
            entry = _byInode.Values.FirstOrDefault(e => e.File == file);
        }

        if (entry is { MustDrain: true })
        {
            var end = process.DuplicateDescriptor(descriptor);
            if (end >= 0)
            {
                byte signal;
                _ = Libc.Read(end, (nint)(&signal), 1);
                _ = Libc.Close(end);
                entry.Drained();
            }
        }
    }

    /// <summary>Releases the files that were closed. Called before every call that is served, so that a close is always seen first.</summary>
    public void Drain()
    {
        // One at a time: who finds nothing to release must know that nobody is in the middle of releasing.
        lock (_draining)
        {
            DrainLocked();
        }
    }

    private void DrainLocked()
    {
        const int Room = 64;
        var ready = stackalloc EpollReady[Room];
        var closed = new List<ForeignDescriptor>();
        int count;
        while ((count = _real.EpollWait(_hangups, (nint)ready, Room, 0)) > 0)
        {
            for (var i = 0; i < count; i++)
            {
                ForeignDescriptor? entry;
                lock (_gate)
                {
                    _ = _byOurEnd.TryGetValue((int)ready[i].Token, out entry);
                }

                if (entry is null)
                {
                    continue;
                }

                // A process that ends closes one after the other: what it left is told of all of them before the first is released.
                if (ForeignProcess.IsEnding(entry.Opener.Id))
                {
                    var poll = new PollDescriptor { Descriptor = entry.Opener.Pidfd, Events = Libc.POLLIN };
                    _ = _real.Poll((nint)(&poll), 1, ExitMilliseconds);
                }

                if (Forget(entry))
                {
                    closed.Add(entry);
                }
            }
        }

        closed.ForEach(entry => Closing?.Invoke(entry.File, entry.Opener, entry.Numbers[0]));
        closed.ForEach(static entry => entry.File.Put());
    }

    /// <summary>The files that are open.</summary>
    public IReadOnlyList<SimulatedFile> Open()
    {
        lock (_gate)
        {
            return [.. _byInode.Values.Select(static entry => entry.File)];
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        ForeignDescriptor[] entries;
        lock (_gate)
        {
            entries = [.. _byInode.Values];
        }

        foreach (var entry in entries)
        {
            if (Forget(entry))
            {
                entry.File.Put();
            }
        }

        _ = Libc.Close(_hangups);
        _served.Dispose();
    }

    private bool Forget(ForeignDescriptor entry)
    {
        lock (_gate)
        {
            if (!_byOurEnd.Remove(entry.OurEnd))
            {
                return false;
            }

            _byInode.Remove(entry.Inode);
        }

        _numbers.Forget(entry);
        entry.File.ReadinessChanged = null;
        _ = Libc.Close(entry.OurEnd);
        return true;
    }

    private int FreeNumber(ForeignProcess process)
    {
        byte unused;
        for (var tries = _first; tries < _end; tries++)
        {
            var number = Interlocked.Increment(ref _next) - 1;
            number = _first + (int)((uint)(number - _first) % (uint)(_end - _first));
            if (process.DescribeDescriptor(number, &unused, 1) < 0)
            {
                return number;
            }
        }

        return -Errno.EMFILE;
    }

    private static ulong InodeOf(int descriptor)
    {
        var buffer = default(Libc.StatxBuffer);
        return Libc.Statx(descriptor, "", Libc.AT_EMPTY_PATH, 0x100, &buffer) == 0 ? buffer.Inode : 0; // STATX_INO
    }

    private readonly record struct ServedCall(SeccompListener Listener, ulong Call);
}
