using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace IommuFd.HwSim.Units;

/// <summary>
/// A translation cache with real staleness: an entry stays until it is invalidated or another one takes its place. Direct-mapped; a large page is
/// cached in 4 KiB pieces that remember its size, so that invalidating any part of the page removes all of its pieces.
/// </summary>
/// <remarks>
/// Readers take no lock: the two tag words are kept exclusive-or the value word (and the page), so a torn entry matches nothing. A walk that began
/// before an invalidation must not leave its result behind after it: whoever walks takes <see cref="Generation"/> first and gives it to
/// <see cref="Add"/>.
/// </remarks>
// SAFETY: the index is masked to the table's size; the table lives as long as the object (finalizer).
public sealed unsafe class IoTlb
{
    [StructLayout(LayoutKind.Sequential)]
    private struct Entry
    {
        public ulong PageTag;
        public ulong SpaceTag;
        public ulong Value;
    }

    private const ulong Valid = 1UL << 63;
    private readonly Lock _gate = new();
    private int _generation;
    private readonly int _count;
    private readonly Entry* _entries;

    // One bit per entry that may be in use, so that an invalidation looks at those only; the bits that some space had and the largest page, since the
    // last Clear.
    private readonly ulong[] _used;
    private int _usedCount;
    private ulong _spaceBits;
    private int _largestLg2;

    /// <summary>An empty cache.</summary>
    /// <param name="entriesLg2">log2 of the number of entries, at most 20; -1 for a cache that keeps nothing.</param>
    public IoTlb(int entriesLg2 = 12)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(entriesLg2, 20);
        _count = entriesLg2 < 0 ? 0 : 1 << entriesLg2;
        _entries = (Entry*)NativeMemory.AllocZeroed((nuint)Math.Max(1, _count), (nuint)sizeof(Entry));
        _used = new ulong[(_count + 63) / 64];
    }

    /// <summary>Frees the table.</summary>
    ~IoTlb() => NativeMemory.Free(_entries);

    /// <summary>Looks a page up.</summary>
    /// <param name="space">Whose address: domain id, PASID and whatever else the unit tags with; below 2^62.</param>
    /// <param name="address">Input address.</param>
    /// <param name="output">Physical address of <paramref name="address"/>.</param>
    /// <param name="sizeLg2">log2 of the page that the entry came from.</param>
    /// <param name="allowed">What it allows.</param>
    /// <returns>True on a hit.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool TryGet(ulong space, ulong address, out ulong output, out int sizeLg2, out DmaAccess allowed)
    {
        if (_count == 0)
        {
            output = 0;
            sizeLg2 = 0;
            allowed = 0;
            return false;
        }

        var entry = _entries + Index(space, address);
        var value = Volatile.Read(ref entry->Value);
        output = (value & 0x00FF_FFFF_FFFF_F000) | (address & 0xFFF);
        sizeLg2 = (int)(value >> 4 & 63);
        allowed = (DmaAccess)(value & 15);
        return (Volatile.Read(ref entry->PageTag) ^ value) == (address >> 12)
            && (Volatile.Read(ref entry->SpaceTag) ^ value) == ((space | Valid) ^ Mix(address >> 12));
    }

    /// <summary>Looks a page up for a request without privilege, PCIe translation types or other peculiarities.</summary>
    /// <param name="space">Whose address.</param>
    /// <param name="address">Input address.</param>
    /// <param name="access">What is asked for; with anything but Read, Write and Execute there is no hit.</param>
    /// <param name="output">Physical address.</param>
    /// <param name="sizeLg2">log2 of the page.</param>
    /// <returns>True on a hit that allows the access.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal bool TryHit(ulong space, ulong address, DmaAccess access, out ulong output, out int sizeLg2)
    {
        var page = address >> 12;
        // A cache that keeps nothing has one entry, which matches nothing.
        var entry = _entries + (Index(space, address) & ~(_count - 1 >> 31));
        var value = Volatile.Read(ref entry->Value);
        output = (value & 0x00FF_FFFF_FFFF_F000) | (address & 0xFFF);
        sizeLg2 = (int)(value >> 4 & 63);

        // One comparison for the page, the space, and (with the bits that a hit can allow) the access.
        return ((Volatile.Read(ref entry->PageTag) ^ value ^ page)
            | (Volatile.Read(ref entry->SpaceTag) ^ value ^ (space | Valid) ^ Mix(page))
            | ((ulong)access & ~(value & 7))) == 0;
    }

    /// <summary>Counts invalidations.</summary>
    public int Generation => Volatile.Read(ref _generation);

    /// <summary>Keeps a translation, unless something was invalidated since the walk began.</summary>
    /// <param name="space">Whose address.</param>
    /// <param name="address">Input address.</param>
    /// <param name="output">Its physical address, below 2^56.</param>
    /// <param name="sizeLg2">log2 of the page.</param>
    /// <param name="allowed">Read, Write, Execute, Privileged.</param>
    /// <param name="generation"><see cref="Generation"/> as it was before the walk.</param>
    public void Add(ulong space, ulong address, ulong output, int sizeLg2, DmaAccess allowed, int generation)
    {
        if (_count == 0)
            return;
        var value = (output & 0x00FF_FFFF_FFFF_F000) | ((ulong)sizeLg2 << 4) | ((ulong)allowed & 15);
        var index = Index(space, address);
        var entry = _entries + index;
        lock (_gate)
        {
            if (generation != _generation)
                return;
            _usedCount += (_used[index / 64] >> index & 1) == 0 ? 1 : 0;
            _used[index / 64] |= 1UL << index;
            _spaceBits |= space;
            _largestLg2 = Math.Max(_largestLg2, sizeLg2);
            Volatile.Write(ref entry->Value, value);
            Volatile.Write(ref entry->PageTag, (address >> 12) ^ value);
            Volatile.Write(ref entry->SpaceTag, (space | Valid) ^ Mix(address >> 12) ^ value);
        }
    }

    /// <summary>Removes everything.</summary>
    public void Clear()
    {
        lock (_gate)
        {
            _generation++;
            new Span<Entry>(_entries, _count).Clear();
            _used.AsSpan().Clear();
            _usedCount = 0;
            _spaceBits = 0;
            _largestLg2 = 0;
        }
    }

    /// <summary>Removes all entries of the spaces that match.</summary>
    /// <param name="space">Value to compare with.</param>
    /// <param name="mask">Which bits of the space are compared.</param>
    public void Remove(ulong space, ulong mask) => Remove(space, mask, 0, ulong.MaxValue);

    /// <summary>Removes the entries of the spaces that match whose page has an address in the range.</summary>
    /// <param name="space">Value to compare with.</param>
    /// <param name="mask">Which bits of the space are compared.</param>
    /// <param name="first">First address.</param>
    /// <param name="last">Last address.</param>
    public void Remove(ulong space, ulong mask, ulong first, ulong last)
    {
        lock (_gate)
        {
            _generation++;
            // No space had a bit that this one must have.
            if ((space & mask & ~_spaceBits) != 0)
                return;
            var inPage = _largestLg2 >= 63 ? ulong.MaxValue : (1UL << _largestLg2) - 1;
            var pages = ((last | inPage) >> 12) - ((first & ~inPage) >> 12) + 1;
            if ((_spaceBits & ~mask) == 0 && pages <= (ulong)(_used.Length + _usedCount))
            {
                // All bits that differ between spaces are compared, so only one space matches: its entries can only be where the range's pages are
                // kept.
                for (var address = first & ~inPage; pages != 0; pages--, address += 4096)
                    RemoveAt(Index(space & mask, address), space, mask, first, last);
                return;
            }

            for (var word = 0; word < _used.Length; word++)
            {
                for (var bits = _used[word]; bits != 0; bits &= bits - 1)
                    RemoveAt((word * 64) + BitOperations.TrailingZeroCount(bits), space, mask, first, last);
            }
        }
    }

    /// <summary>Number of entries in use, counted now.</summary>
    public int Count
    {
        get
        {
            var used = 0;
            for (var entry = _entries; entry < _entries + _count; entry++)
                used += Matches(entry, 0, 0) ? 1 : 0;
            return used;
        }
    }

    private void RemoveAt(int index, ulong space, ulong mask, ulong first, ulong last)
    {
        var entry = _entries + index;
        if (!Matches(entry, space, mask))
            return;
        var page = (entry->PageTag ^ entry->Value) << 12;
        var inPage = (1UL << (int)(entry->Value >> 4 & 63)) - 1;
        if ((page & ~inPage) > last || (page | inPage) < first)
            return;
        *entry = default;
        _used[index / 64] &= ~(1UL << index);
        _usedCount--;
    }

    private static bool Matches(Entry* entry, ulong space, ulong mask)
    {
        var tag = entry->SpaceTag ^ entry->Value ^ Mix(entry->PageTag ^ entry->Value);
        return (tag & Valid) != 0 && ((tag ^ space) & mask & ~Valid) == 0;
    }

    // Ties the two tags together; the Valid bit stays free.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong Mix(ulong page) => (page * 0x9E3779B97F4A7C15UL) >> 1;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private int Index(ulong space, ulong address) => (int)((address >> 12) ^ (space * 0x9E3779B97F4A7C15UL >> 40)) & (_count - 1);
}
