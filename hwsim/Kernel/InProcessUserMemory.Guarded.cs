using IommuFd.Native;
using Libc = IommuFd.Native.Libc;

namespace IommuFd.HwSim.Kernel;

/// <summary>Memory that nobody vouches for, and memory that is gone while it is pinned.</summary>
public sealed unsafe partial class InProcessUserMemory
{
    // Unmapped while pinned; sorted, disjoint; replaced as a whole.
    private Range[] _freed = [];

    private bool IsFreed(ulong address, ulong length) => Touches(_freed, address, length);

    /// <summary>munmap(2) through the seam. What a device may still reach stays mapped until nobody has it pinned.</summary>
    /// <param name="address">A multiple of the page size.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="memory">Knows what is pinned.</param>
    /// <param name="unmap">The real munmap.</param>
    internal int Unmap(nint address, nuint length, PhysicalMemory memory, Func<nint, nuint, int> unmap)
    {
        Sweep(memory, unmap);
        RemoveMapping(address, length);
        if (address % 4096 != 0 || length == 0 || !memory.IsAnyPinned((ulong)address, length))
        {
            return unmap(address, length);
        }

        Add(ref _freed, address, (length + 4095) & ~(nuint)4095);
        return 0;
    }

    /// <summary>Unmaps what was freed and is not pinned any more; all of it when nothing is pinned for good.</summary>
    internal void Sweep(PhysicalMemory? memory, Func<nint, nuint, int> unmap)
    {
        foreach (Range range in Volatile.Read(ref _freed))
        {
            var length = (nuint)(range.Last - range.First + 1);
            if ((memory is null || !memory.IsAnyPinned(range.First, length)) && TakeFreed(range))
            {
                _ = unmap((nint)range.First, length);
            }
        }
    }

    // Only one thread may unmap it: the addresses are used again at once.
    private bool TakeFreed(Range range)
    {
        lock (_gate)
        {
            var isThere = Array.Exists(_freed, freed => freed == range);
            Remove(ref _freed, range);
            return isThere;
        }
    }

    /// <summary>Pages that are reached by copies, which fail where a pointer would end the process.</summary>
    private sealed class GuardedPages(InProcessUserMemory memory, bool withDevices) : IPageSource
    {
        public SimulatedProcess Process => memory.Process;

        public int Pin(ulong address, ulong length, bool writable) => memory.Pin(address, length, writable, withDevices);

        public void Unpin(ulong address, ulong length) => memory.Unpin(address, length);

        public nint HostAddress(ulong address, ref ulong length) => OwnMemory.Token(address);
    }
}

/// <summary>Memory of this process behind tokens: copied by the host's kernel, which answers EFAULT for what is not there.</summary>
internal sealed unsafe class OwnMemory : IRemoteMemory
{
    /// <summary>The token of an address.</summary>
    public static nint Token(ulong address) => (nint)(address | (1UL << 63));

    /// <inheritdoc/>
    public bool Read(nint token, void* destination, ulong length) => Transfer(Libc.SYS_process_vm_readv, token, destination, length);

    /// <inheritdoc/>
    public bool Write(nint token, void* source, ulong length) => Transfer(Libc.SYS_process_vm_writev, token, source, length);

    // SAFETY: one side is the caller's, the other is only named.
    private static bool Transfer(nint call, nint token, void* local, ulong length)
    {
        for (ulong done = 0; done < length;)
        {
            var here = new Libc.IoVector { Base = (byte*)local + done, Length = (nuint)(length - done) };
            var there = new Libc.IoVector { Base = (void*)(((ulong)token & ~(1UL << 63)) + done), Length = (nuint)(length - done) };
            var moved = Libc.Syscall(call, Environment.ProcessId, (nint)(&here), 1, (nint)(&there), 1, 0);
            if (moved <= 0)
            {
                return false;
            }

            done += (ulong)moved;
        }

        return true;
    }
}
