using IommuFd.Native;
using Libc = IommuFd.Native.Libc;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// A second mapping of a program's shared memory, where devices reach it: what the program does to its own mapping does not touch it, as pinned pages
/// stay on Linux.
/// It is made when the memory is first pinned and lives until the program has unmapped the memory and nobody has a page pinned.
/// </summary>
// SAFETY (whole class): the memory behind At is mapped for as long as Hold counts a use, and a pointer is used only in between.
internal sealed unsafe class PageAlias : IPageSource
{
    // Where aliases lie: 64 TiB below the memory, where programs have nothing, or near it. The offset in a GiB stays, so that large pages are
    // possible where they were.
    private const ulong Distance = 1UL << 46, Step = 1UL << 40;
    private const int Places = 32;
    private const long Freed = long.MinValue / 2;

    private readonly InProcessUserMemory _memory;
    private readonly ulong _first;
    private readonly nint _host;
    private long _uses;
    private volatile bool _givenUp;

    private PageAlias(InProcessUserMemory memory, ulong first, ulong last, nint host) => (_memory, _first, Last, _host) = (memory, first, last, host);

    /// <summary>Last byte of the program's memory that is here too.</summary>
    public ulong Last { get; }

    /// <inheritdoc/>
    public SimulatedProcess Process => _memory.Process;

    /// <inheritdoc/>
    public IUserMemory User => _memory;

    /// <summary>Maps [first, last] once more; null when the host refuses or the memory is gone.</summary>
    public static PageAlias? Make(InProcessUserMemory memory, ulong first, ulong last)
    {
        var length = (nuint)((last - first + 4096) & ~4095UL);
        nint room = Reserve(first, length);
        if (room == -1)
        {
            return null;
        }

        // An old length of 0 maps shared pages a second time (mremap(2)).
        nint host = Libc.Mremap((nint)first, 0, length, Libc.MREMAP_MAYMOVE | Libc.MREMAP_FIXED, room);
        if (host == -1)
        {
            _ = Libc.Munmap(room, length);
            return null;
        }

        return new PageAlias(memory, first, first + length - 1, host);
    }

    /// <summary>Where a byte of the program's memory is; only while it is held.</summary>
    public void* At(ulong address) => (byte*)_host + (address - _first);

    /// <inheritdoc/>
    public int Pin(ulong address, ulong length, bool writable) => Hold((long)(length / 4096)) ? 0 : -Errno.EFAULT;

    /// <inheritdoc/>
    public void Unpin(ulong address, ulong length) => Release((long)(length / 4096));

    /// <inheritdoc/>
    public nint HostAddress(ulong address, ref ulong length) => _host + (nint)(address - _first);

    /// <summary>Counts uses; false when it is freed.</summary>
    public bool Hold(long uses)
    {
        if (Interlocked.Add(ref _uses, uses) > 0)
        {
            return true;
        }

        _ = Interlocked.Add(ref _uses, -uses);
        return false;
    }

    /// <summary>Takes back uses; the last one of memory that the program has unmapped frees it.</summary>
    public void Release(long uses)
    {
        if (Interlocked.Add(ref _uses, -uses) == 0 && _givenUp)
        {
            FreeIfUnused();
        }
    }

    /// <summary>The program has unmapped all of it.</summary>
    public void GiveUp()
    {
        _givenUp = true;
        FreeIfUnused();
    }

    /// <summary>Unmaps it whoever uses it.</summary>
    public void Free()
    {
        if (Interlocked.Exchange(ref _uses, Freed) >= 0)
        {
            Unmap();
        }
    }

    private void FreeIfUnused()
    {
        if (Interlocked.CompareExchange(ref _uses, Freed, 0) == 0)
        {
            Unmap();
            _memory.Forget(this);
        }
    }

    private void Unmap() => _ = Libc.Munmap(_host, (nuint)(Last - _first + 1));

    private static nint Reserve(ulong first, nuint length)
    {
        const int flags = Libc.MAP_PRIVATE | Libc.MAP_ANONYMOUS | Libc.MAP_NORESERVE;
        for (ulong place = 0; place < Places; place++)
        {
            var wanted = (nint)(first - Distance + (place * Step));
            nint got = wanted > 0 ? Libc.Mmap(wanted, length, Libc.PROT_NONE, flags | Libc.MAP_FIXED_NOREPLACE, -1, 0) : -1;
            if (got == wanted && got != -1)
            {
                return got;
            }
        }

        return Libc.Mmap(0, length, Libc.PROT_NONE, flags, -1, 0);
    }
}
