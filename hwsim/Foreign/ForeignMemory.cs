using System.Globalization;
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
    private const int FirstPiece = 1 << 20;

    /// <summary>Bits of a <see cref="HostAddress"/> that hold the user address; above them is the process's number here, and the sign bit is set.</summary>
    public const int AddressBits = 48;

    private readonly int _process;
    private readonly ulong _token;
    private readonly Lock _gate = new();
    private int _memory = -1;

    /// <summary>The memory of <paramref name="process"/>.</summary>
    /// <param name="process">The process.</param>
    /// <param name="number">A number of at most 15 bits that no other living process has.</param>
    public ForeignMemory(ForeignProcess process, int number)
    {
        _token = (1UL << 63) | ((ulong)number << AddressBits);
        Process = process;
        _process = process.Id;
    }

    /// <inheritdoc/>
    public SimulatedProcess Process { get; }

    /// <inheritdoc/>
    public int CopyFrom(ulong address, void* destination, nuint length) => Transfer(Libc.SYS_process_vm_readv, address, destination, length);

    /// <inheritdoc/>
    public int CopyTo(ulong address, void* source, nuint length) => Transfer(Libc.SYS_process_vm_writev, address, source, length);

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
    public int Pin(ulong address, ulong length, bool writable) =>
        length == 0 || address + length < address || !Permits(address, address + length, writable) ? -Errno.EFAULT : 0;

    /// <inheritdoc/>
    public void Unpin(ulong address, ulong length)
    {
    }

    /// <inheritdoc/>
    public nint HostAddress(ulong address, ref ulong length) => (nint)(_token | address);

    /// <summary>Which process a <see cref="HostAddress"/> belongs to.</summary>
    public static int NumberOf(nint token) => (int)((ulong)token >> AddressBits) & 0x7fff;

    /// <summary>The user address in a <see cref="HostAddress"/>.</summary>
    public static ulong AddressOf(nint token) => (ulong)token & ((1UL << AddressBits) - 1);

    /// <summary>A device reads pinned memory. False: the page is gone.</summary>
    public bool ReadPinned(ulong address, void* destination, ulong length) => Libc.Pread(MemoryFile(), (nint)destination, (nuint)length, (long)address) == (nint)length;

    /// <summary>A device writes pinned memory. False: the page is gone.</summary>
    public bool WritePinned(ulong address, void* source, ulong length) => Libc.Pwrite(MemoryFile(), (nint)source, (nuint)length, (long)address) == (nint)length;

    /// <inheritdoc/>
    public void Dispose()
    {
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

    // Every byte lies in an area that may be read (and written), and that is memory, not a device's registers.
    private bool Permits(ulong address, ulong end, bool writable)
    {
        var at = address;
        try
        {
            foreach (var line in File.ReadLines($"/proc/{_process}/maps"))
            {
                // start-end perms ...
                var dash = line.IndexOf('-', StringComparison.Ordinal);
                var space = line.IndexOf(' ', StringComparison.Ordinal);
                if (!ulong.TryParse(line.AsSpan(dash + 1, space - dash - 1), NumberStyles.HexNumber, CultureInfo.InvariantCulture, out var last) || last <= at)
                {
                    continue;
                }

                var first = ulong.Parse(line.AsSpan(0, dash), NumberStyles.HexNumber, CultureInfo.InvariantCulture);
                if (first > at || line[space + 1] != 'r' || (writable && line[space + 2] != 'w') || line.EndsWith("[vvar]", StringComparison.Ordinal))
                {
                    return false;
                }

                at = last;
                if (at >= end)
                {
                    return true;
                }
            }
        }
        catch (IOException)
        {
            // The process is gone.
        }
        catch (UnauthorizedAccessException)
        {
        }

        return false;
    }
}
