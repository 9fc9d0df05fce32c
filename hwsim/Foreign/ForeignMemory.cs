using IommuFd.HwSim.Devices;
using IommuFd.HwSim.Kernel;
using IommuFd.Native;
using Libc = IommuFd.Native.Libc;

namespace IommuFd.HwSim.Foreign;

/// <summary>
/// The memory of another process. Arguments are copied by process_vm_readv and process_vm_writev, which obey its page permissions: a wild pointer is
/// -EFAULT. Pinned pages are reached through its /proc/PID/mem, which stays that of the program that pinned them when another program is executed.
/// </summary>
/// <remarks>
/// Does not model: pages that stay pinned after the process unmapped them. What a device does there is refused and reported by the unit that does it.
/// </remarks>
// SAFETY (whole class): no address of the other process is ever dereferenced here; every copy is made by the host's kernel.
internal sealed unsafe class ForeignMemory : IUserMemory, IDisposable
{
    private const int FirstPiece = 1 << 20, WindowSize = 128;

    /// <summary>
    /// Bits of a <see cref="HostAddress"/> that hold the user address; above them is the process's number here, and the sign bit is set.
    /// </summary>
    public const int AddressBits = 48;

    /// <summary>Highest number of a process; the bit above tells a shared file from a process.</summary>
    public const int MostNumber = 0x3fff;

    private readonly int _process;
    private readonly ulong _token;
    private readonly Lock _gate = new();
    private readonly ProcessAreas _areas;
    private readonly SharedFiles _files;
    private readonly List<ulong> _held = [];
    private Shared[] _shared = [];
    private ulong _pins;
    private DevicePages? _withDevices;
    private int _memory = -1;
    private readonly byte[] _window = new byte[WindowSize];
    private int _caller; // the thread whose call the window belongs to; 0 for none
    private ulong _windowStart;
    private nint _windowLength;

    /// <summary>The memory of <paramref name="process"/>.</summary>
    /// <param name="process">The process.</param>
    /// <param name="number">A number of at most <see cref="MostNumber"/> that no other living process has.</param>
    /// <param name="files">The files whose pages are shared with it.</param>
    public ForeignMemory(ForeignProcess process, int number, SharedFiles files)
    {
        _areas = new ProcessAreas(process.Id);
        _files = files;
        _token = (1UL << 63) | ((ulong)number << AddressBits);
        Process = process;
        _process = process.Id;
    }

    /// <inheritdoc/>
    public SimulatedProcess Process { get; }

    /// <summary>Which of the next copies and pins is to fail.</summary>
    public FailNth Faults { get; } = new();

    /// <summary>
    /// Reads the surroundings of a call's argument in one go, for the copies that the calling thread makes next: a copy from another process costs
    /// two microseconds, however short it is. To be ended by <see cref="EndCall"/>; while one thread is inside, others copy as ever.
    /// </summary>
    public void BeginCall(ulong argument)
    {
        if (Interlocked.CompareExchange(ref _caller, Environment.CurrentManagedThreadId, 0) != 0)
        {
            return;
        }

        // What lies on a page that is missing is left out.
        fixed (byte* window = _window)
        {
            var here = new Libc.IoVector { Base = window, Length = WindowSize };
            var there = new Libc.IoVector { Base = (void*)argument, Length = WindowSize };
            _windowLength = nint.Max(Libc.Syscall(Libc.SYS_process_vm_readv, _process, (nint)(&here), 1, (nint)(&there), 1, 0), 0);
        }

        _windowStart = argument;
    }

    /// <summary>Ends a <see cref="BeginCall"/> of this thread.</summary>
    public void EndCall()
    {
        if (_caller == Environment.CurrentManagedThreadId)
        {
            _windowLength = 0;
            Volatile.Write(ref _caller, 0);
        }
    }

    /// <inheritdoc/>
    public int CopyFrom(ulong address, void* destination, nuint length)
    {
        if (Faults.MustFail())
        {
            return -Errno.EFAULT;
        }

        if (_windowLength != 0 && _caller == Environment.CurrentManagedThreadId && address - _windowStart is var at && at < (ulong)_windowLength
            && length <= (nuint)_windowLength - (nuint)at)
        {
            // SAFETY: the caller's buffer has room for length bytes
            _window.AsSpan((int)at, (int)length).CopyTo(new Span<byte>(destination, (int)length));
            return 0;
        }

        return Transfer(Libc.SYS_process_vm_readv, address, destination, length);
    }

    /// <inheritdoc/>
    public int CopyTo(ulong address, void* source, nuint length)
    {
        if (Faults.MustFail())
        {
            return -Errno.EFAULT;
        }

        if (_windowLength != 0 && _caller == Environment.CurrentManagedThreadId)
        {
            _windowLength = 0; // it may lie in what is written now
        }

        return Transfer(Libc.SYS_process_vm_writev, address, source, length);
    }

    /// <summary>A string of at most <paramref name="room"/> - 1 bytes: its length, -EFAULT, or -ENAMETOOLONG.</summary>
    public int CopyString(ulong address, byte* destination, int room)
    {
        for (var done = 0; done < room;)
        {
            // Never beyond a page's end: the string may end before memory does.
            var at = address + (ulong)done;
            var piece = (int)ulong.Min((ulong)(room - done), 4096 - (at % 4096));
            if (CopyFrom(at, destination + done, (nuint)piece) < 0)
            {
                return -Errno.EFAULT;
            }

            var end = new ReadOnlySpan<byte>(destination + done, piece).IndexOf((byte)0);
            if (end >= 0)
            {
                return done + end;
            }

            done += piece;
        }

        return -Errno.ENAMETOOLONG;
    }

    /// <inheritdoc/>
    public IPageSource PagesAt(ulong address, ulong length, bool withDevices) => withDevices ? _withDevices ??= new DevicePages(this) : this;

    /// <inheritdoc/>
    public int Pin(ulong address, ulong length, bool writable) => Pin(address, length, writable, withDevices: false);

    private int Pin(ulong address, ulong length, bool writable, bool withDevices)
    {
        if (Faults.MustFail())
        {
            return -Errno.ENOMEM;
        }

        var end = address + length;
        if (length == 0 || end < address)
        {
            return -Errno.EFAULT;
        }

        lock (_gate)
        {
            for (var at = address; at < end;)
            {
                // A BAR that is mapped (its file's offsets tell) has no pages that could be pinned.
                if (!_areas.Find(at, out var area) || !area.IsReadable || (writable && !area.IsWritable)
                    || (!withDevices && area.IsShared && area.Offset >= DeviceMemory.MapBias))
                {
                    return -Errno.EFAULT;
                }

                var stop = ulong.Min(area.End, end);
                if (area.IsShared && _files.TokenOf(_process, in area) is var token and not 0)
                {
                    Share(at, stop, token + (at - area.Start) + area.Offset);
                }
                else
                {
                    Share(at, stop, 0);
                }

                at = stop;
            }

            _pins += length;
        }

        return 0;
    }

    /// <inheritdoc/>
    public void Unpin(ulong address, ulong length)
    {
        lock (_gate)
        {
            _pins -= length;
            if (_pins == 0)
            {
                _shared = [];
                _held.ForEach(_files.Put);
                _held.Clear();
            }
        }
    }

    /// <inheritdoc/>
    public nint HostAddress(ulong address, ref ulong length)
    {
        var shared = Volatile.Read(ref _shared);
        foreach (var piece in shared)
        {
            if (address < piece.First)
            {
                length = ulong.Min(length, piece.First - address);
                break;
            }

            if (address < piece.End)
            {
                length = ulong.Min(length, piece.End - address);
                return (nint)(piece.Token + (address - piece.First));
            }
        }

        return (nint)(_token | address);
    }

    // Pinned from now on: [first, end) is a piece of a shared file, or (token 0) memory of this process alone.
    private void Share(ulong first, ulong end, ulong token)
    {
        if (Array.Exists(_shared, p => p.First <= first && p.End >= end && p.Token + (first - p.First) == token) ||
            (token == 0 && !Array.Exists(_shared, p => p.First < end && p.End > first)))
        {
            return;
        }

        var pieces = new List<Shared>(_shared.Length + 2);
        foreach (var piece in _shared)
        {
            if (piece.First >= end || piece.End <= first)
            {
                pieces.Add(piece);
                continue;
            }

            if (piece.First < first)
            {
                pieces.Add(piece with { End = first });
            }

            if (piece.End > end)
            {
                pieces.Add(new Shared(end, piece.End, piece.Token + (end - piece.First)));
            }
        }

        if (token != 0)
        {
            // The file is held until nothing of this process is pinned.
            _files.Get(token);
            _held.Add(token);
            pieces.Add(new Shared(first, end, token));
        }

        pieces.Sort(static (a, b) => a.First.CompareTo(b.First));
        Volatile.Write(ref _shared, [.. pieces]);
    }

    private sealed class DevicePages(ForeignMemory memory) : IPageSource
    {
        public SimulatedProcess Process => memory.Process;

        public int Pin(ulong address, ulong length, bool writable) => memory.Pin(address, length, writable, withDevices: true);

        public void Unpin(ulong address, ulong length) => memory.Unpin(address, length);

        public nint HostAddress(ulong address, ref ulong length) => memory.HostAddress(address, ref length);
    }

    private readonly record struct Shared(ulong First, ulong End, ulong Token);

    /// <summary>Which process a <see cref="HostAddress"/> belongs to.</summary>
    public static int NumberOf(nint token) => (int)((ulong)token >> AddressBits) & MostNumber;

    /// <summary>The user address in a <see cref="HostAddress"/>.</summary>
    public static ulong AddressOf(nint token) => (ulong)token & ((1UL << AddressBits) - 1);

    /// <summary>A device reads pinned memory. False: the page is gone.</summary>
    public bool ReadPinned(ulong address, void* destination, ulong length) =>
        Libc.Pread(MemoryFile(), (nint)destination, (nuint)length, (long)address) == (nint)length;

    /// <summary>A device writes pinned memory. False: the page is gone.</summary>
    public bool WritePinned(ulong address, void* source, ulong length) =>
        Libc.Pwrite(MemoryFile(), (nint)source, (nuint)length, (long)address) == (nint)length;

    /// <inheritdoc/>
    public void Dispose()
    {
        _areas.Dispose();
        var open = Interlocked.Exchange(ref _memory, -1);
        if (open >= 0)
        {
            _ = Libc.Close(open);
        }
    }

    private int MemoryFile()
    {
        if (Volatile.Read(ref _memory) < 0)
        {
            lock (_gate)
            {
                if (_memory < 0)
                {
                    Volatile.Write(ref _memory, Libc.Open($"/proc/{_process}/mem", Libc.O_RDWR | Libc.O_CLOEXEC, 0));
                }
            }
        }

        return _memory;
    }

    private int Transfer(nint call, ulong address, void* local, nuint length)
    {
        for (nuint done = 0; done < length;)
        {
            // A copy may end at a page that is missing after it moved what was before: the rest decides.
            var piece = nuint.Min(length - done, FirstPiece);
            var here = new Libc.IoVector { Base = (byte*)local + done, Length = piece };
            var there = new Libc.IoVector { Base = (void*)(address + done), Length = piece };
            var moved = Libc.Syscall(call, _process, (nint)(&here), 1, (nint)(&there), 1, 0);
            if (moved <= 0)
            {
                return -Errno.EFAULT;
            }

            done += (nuint)moved;
        }

        return 0;
    }
}
