using System.Runtime.CompilerServices;

namespace IommuFd.HwSim.PageTables;

/// <summary>Pages that a map of many tables took from memory at once.</summary>
internal struct SpareTables
{
    private const int Most = 16;

    [InlineArray(Most)]
    private struct Addresses
    {
        private ulong _first;
    }

    private Addresses _addresses;
    private int _next;
    private int _count;

    /// <summary>A page whose content is undefined.</summary>
    /// <param name="memory">Where it comes from.</param>
    /// <param name="wanted">How many will be asked for from now on, at least 1.</param>
    /// <returns>Its physical address; 0 when the arena is full.</returns>
    public ulong Take(PhysicalMemory memory, ulong wanted)
    {
        if (_next == _count)
        {
            _next = 0;
            _count = memory.Allocate(((Span<ulong>)_addresses)[..(int)Math.Min(wanted, Most)]);
            if (_count == 0)
                return 0;
        }

        return _addresses[_next++];
    }

    /// <summary>Gives back what was not used.</summary>
    /// <param name="memory">Where it came from.</param>
    public void Return(PhysicalMemory memory)
    {
        for (; _count != _next; _count--)
            memory.Free(_addresses[_count - 1]);
    }
}
