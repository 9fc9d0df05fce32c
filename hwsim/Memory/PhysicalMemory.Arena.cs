using System.Numerics;
using System.Runtime.InteropServices;

namespace IommuFd.HwSim;

// SAFETY: pages are handed out from inside the arena only.
public sealed unsafe partial class PhysicalMemory
{
    private const int MaxOrder = 9;

    // Offsets of free blocks of 4 KiB << order, the last one freed on top. They are not kept in the blocks: finding the next one would wait for a
    // block's cache miss.
    private readonly FreeBlocks[] _free = new FreeBlocks[MaxOrder + 1];
    private ulong _arenaTop;

    /// <summary>Bytes of the arena that are allocated now.</summary>
    public ulong AllocatedBytes { get; private set; }

    /// <summary>Bytes of the arena that were ever handed out: the host memory it may occupy.</summary>
    public ulong HighWaterBytes => _arenaTop;

    /// <summary>Makes allocations fail; null when none does.</summary>
    internal Kernel.FailNth? Faults { get; set; }

    /// <summary>Allocates naturally aligned, zeroed memory in the arena: table pages, queues, a device's structures.</summary>
    /// <param name="sizeLg2">log2 of the size in bytes, at most 21; below 12 counts as 12.</param>
    /// <param name="zero">False when the caller overwrites every byte; the content is then undefined.</param>
    /// <returns>The physical address; 0 when the arena is full.</returns>
    public ulong Allocate(int sizeLg2 = 12, bool zero = true)
    {
        var order = Math.Max(sizeLg2, 12) - 12;
        ArgumentOutOfRangeException.ThrowIfGreaterThan(order, MaxOrder, nameof(sizeLg2));
        if (Faults is { } faults && faults.MustFail())
            return 0;
        lock (_gate)
            return Take(order, zero);
    }

    /// <summary>
    /// Allocates pages of 4 KiB whose content is undefined, several at once: a lock waits until everything that was stored before is in the caches.
    /// </summary>
    /// <param name="addresses">Out: their physical addresses, as single calls would give them.</param>
    /// <returns>How many there are; less than wanted when the arena is full, or an allocation was made to fail.</returns>
    internal int Allocate(Span<ulong> addresses)
    {
        var count = 0;
        lock (_gate)
        {
            for (; count < addresses.Length; count++)
            {
                if ((Faults is { } faults && faults.MustFail()) || (addresses[count] = Take(0, zero: false)) == 0)
                    break;
            }
        }

        return count;
    }

    /// <summary>Gives memory back that <see cref="Allocate(int, bool)"/> handed out.</summary>
    /// <param name="address">What <see cref="Allocate(int, bool)"/> returned.</param>
    /// <param name="sizeLg2">The size that was asked for.</param>
    public void Free(ulong address, int sizeLg2 = 12)
    {
        var order = Math.Max(sizeLg2, 12) - 12;
        var size = PageSize << order;
        var offset = address - Options.ArenaBase;
        if (order > MaxOrder || offset >= _arenaTop || offset % size != 0)
            throw new ArgumentException($"0x{address:x} of 2^{sizeLg2} bytes was not allocated here.", nameof(address));
        lock (_gate)
        {
            if (_disposed)
                return;
            _free[order].Push(offset);
            AllocatedBytes -= size;
        }
    }

    // Under the lock.
    private ulong Take(int order, bool zero)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        var size = PageSize << order;
        if (_free[order].TryPop(out var offset))
        {
            if (zero)
                NativeMemory.Clear(_arena + offset, (nuint)size);
        }
        else
        {
            // Fresh memory of the host is zero. What alignment leaves over goes to the smaller lists.
            while (_arenaTop % size != 0)
            {
                var gapOrder = BitOperations.TrailingZeroCount(_arenaTop) - 12;
                var gap = PageSize << gapOrder;
                if (_arenaTop + gap > Options.ArenaSize)
                    return 0;
                _free[gapOrder].Push(_arenaTop);
                _arenaTop += gap;
            }

            if (size > Options.ArenaSize - _arenaTop)
                return 0;
            offset = _arenaTop;
            _arenaTop += size;
        }

        AllocatedBytes += size;
        return Options.ArenaBase + offset;
    }

    private struct FreeBlocks
    {
        private ulong[]? _offsets;
        private int _count;

        public bool TryPop(out ulong offset)
        {
            offset = 0;
            if (_count == 0)
                return false;
            offset = _offsets![--_count];
            return true;
        }

        public void Push(ulong offset)
        {
            if (_offsets == null || _count == _offsets.Length)
                Array.Resize(ref _offsets, Math.Max(64, _count * 2));
            _offsets[_count++] = offset;
        }
    }
}
