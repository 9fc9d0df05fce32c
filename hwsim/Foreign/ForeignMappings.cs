using IommuFd.HwSim.Kernel;
using IommuFd.Native;
using Libc = IommuFd.Native.Libc;

namespace IommuFd.HwSim.Foreign;

/// <summary>
/// mmap of the machine's memory by programs. A program's own mmap maps what its number leads to, so the number is lent to the memory file while that
/// call is made, and given back at the next call that uses it. As on Linux, a mapping keeps its file open until it is gone.
/// </summary>
/// <remarks>
/// The end of a mapping is seen by inotify: every mapping has an open file description of its own, marked by a lock of its own byte, and the
/// description is closed when both the mapping and the lent number are gone. Does not model: another thread that uses the number in the middle of the
/// mmap.
/// </remarks>
internal sealed unsafe class ForeignMappings : IDisposable
{
    private const int IN_CLOSE = 0x18, IN_NONBLOCK_CLOEXEC = 0x80800, F_WRLCK = 1, F_UNLCK = 2;

    private readonly Lock _gate = new();
    private readonly List<Mapping> _mappings = [];
    private readonly int _inotify = Libc.InotifyInit(IN_NONBLOCK_CLOEXEC);
    private long _lastMark;
    private int _count;

    /// <summary>Readable when a mapping may have ended: <see cref="Drain"/> then.</summary>
    public int Closings => _inotify;

    private sealed record Mapping(SimulatedFile File, int Process, int Number, int Memory, long Mark)
    {
        /// <summary>The program's end of the file's socket while its number is lent, else -1.</summary>
        public int Parked { get; set; } = -1;
    }

    /// <summary>Makes a program's number lead to the memory file.</summary>
    /// <param name="listener">The listener.</param>
    /// <param name="call">The mmap.</param>
    /// <param name="process">The caller.</param>
    /// <param name="number">Its number.</param>
    /// <param name="file">What the mapping keeps open; the caller's reference is taken over.</param>
    /// <param name="memory">The memory file.</param>
    /// <returns>0 or -errno.</returns>
    public int Lend(SeccompListener listener, ulong call, ForeignProcess process, int number, SimulatedFile file, int memory)
    {
        var parked = process.DuplicateDescriptor(number);
        var kept = Libc.Fcntl(memory, Libc.F_DUPFD_CLOEXEC, 0);
        var lent = Libc.Open($"/proc/self/fd/{memory}", Libc.O_RDWR | Libc.O_CLOEXEC, 0);
        var mapping = new Mapping(file, process.Id, number, kept, ++_lastMark) { Parked = parked };
        if (parked < 0 || kept < 0 || lent < 0)
        {
            file.Put();
            foreach (var descriptor in (int[])[parked, kept, lent])
            {
                _ = descriptor < 0 ? 0 : Libc.Close(descriptor);
            }

            return -Errno.EMFILE;
        }

        _ = Libc.InotifyAddWatch(_inotify, $"/proc/self/fd/{memory}", IN_CLOSE);
        _ = Lock(lent, Libc.F_OFD_SETLK, mapping.Mark);
        lock (_gate)
        {
            _mappings.Add(mapping);
            _count = _mappings.Count;
        }

        var rc = listener.AddDescriptor(call, lent, number, closeOnExec: true, answer: false);

        // From here the description lives in the program alone: in its number, then in its mapping. If it never got there, it ends here.
        _ = Libc.Close(lent);
        if (rc < 0)
        {
            Drain();
        }

        return int.Min(rc, 0);
    }

    /// <summary>Makes a lent number lead to its file again.</summary>
    /// <returns>False when the number was not lent.</returns>
    public bool GiveBack(SeccompListener listener, ulong call, ForeignProcess process, int number)
    {
        Mapping? mapping;
        lock (_gate)
        {
            // A forked child has its parent's numbers.
            mapping = _mappings.FindLast(m => m.Number == number && m.Parked >= 0 && m.Process == process.Id)
                ?? _mappings.FindLast(m => m.Number == number && m.Parked >= 0);
        }

        if (mapping is null)
        {
            return false;
        }

        var given = listener.AddDescriptor(call, mapping.Parked, number, closeOnExec: true, answer: false) >= 0;
        if (mapping.Process == process.Id)
        {
            _ = Libc.Close(mapping.Parked);
            mapping.Parked = -1;
        }

        return given;
    }

    /// <summary>Lets go of the files whose mappings are gone.</summary>
    public void Drain()
    {
        if (Volatile.Read(ref _count) == 0)
        {
            return;
        }

        var events = stackalloc byte[4096];
        if (Libc.Read(_inotify, (nint)events, 4096) <= 0)
        {
            return;
        }

        lock (_gate)
        {
            for (var i = _mappings.Count - 1; i >= 0; i--)
            {
                var mapping = _mappings[i];
                if (Lock(mapping.Memory, Libc.F_OFD_GETLK, mapping.Mark) != F_UNLCK)
                {
                    continue;
                }

                _mappings.RemoveAt(i);
                _count = _mappings.Count;
                _ = Libc.Close(mapping.Memory);
                if (mapping.Parked >= 0)
                {
                    _ = Libc.Close(mapping.Parked);
                }

                mapping.File.Put();
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _ = Libc.Close(_inotify);
        foreach (var mapping in _mappings)
        {
            mapping.File.Put();
        }

        _mappings.Clear();
    }

    // struct flock: type, whence, start, length, pid. Returns the type, which F_OFD_GETLK makes F_UNLCK when nobody holds the byte.
    private static int Lock(int descriptor, int command, long mark)
    {
        var flock = stackalloc long[4] { F_WRLCK, mark, 1, 0 };
        return Libc.Fcntl(descriptor, command, (nint)flock) < 0 ? F_WRLCK : *(short*)flock;
    }
}
