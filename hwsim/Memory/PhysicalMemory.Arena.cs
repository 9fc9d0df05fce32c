using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace IommuFd.HwSim;

// SAFETY: pages are handed out from inside the arena only; the free lists run through the free pages themselves.
public sealed unsafe partial class PhysicalMemory
{
    private const int MaxOrder = 9;
    [InlineArray(MaxOrder + 1)]
    private struct FreeLists
    {
        private ulong _first;
    }

    // First free block of 4 KiB << order, as arena offset + 4096; 0 = none. A free block's first word is the next one, in the same form: its low 12 bits
    // are 0, so a unit that still walks a freed table finds nothing present there.
    private FreeLists _free;
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
        var size = PageSize << order;
        if (Faults is { } faults && faults.MustFail())
            return 0;
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            var head = _free[order];
            ulong offset;
            if (head != 0)
            {
                offset = head - PageSize;
                _free[order] = *(ulong*)(_arena + offset);
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
                    Push(_arenaTop, gapOrder);
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
    }

    /// <summary>Gives memory back that <see cref="Allocate"/> handed out.</summary>
    /// <param name="address">What <see cref="Allocate"/> returned.</param>
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
            Push(offset, order);
            AllocatedBytes -= size;
        }
    }

    private void Push(ulong offset, int order)
    {
        *(ulong*)(_arena + offset) = _free[order];
        _free[order] = offset + PageSize;
    }
}
