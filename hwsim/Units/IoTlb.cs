using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace IommuFd.HwSim.Units;

/// <summary>
/// A translation cache with real staleness: an entry stays until it is invalidated or another one takes its place. Direct-mapped; a large page is cached in 4 KiB
/// pieces that remember its size, so that invalidating any part of the page removes all of its pieces.
/// </summary>
/// <remarks>
/// Readers take no lock: the two tag words are kept exclusive-or the value word (and the page), so a torn entry matches nothing. A walk that began before an
/// invalidation must not leave its result behind after it: whoever walks takes <see cref="Generation"/> first and gives it to <see cref="Add"/>.
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
    private readonly int _groupLg2;
    private readonly Entry* _entries;

    // A bit for each group of entries that may hold one: mapping page by page with caching mode invalidates as often, and mostly there is nothing.
    private ulong _used;

    /// <summary>An empty cache.</summary>
    /// <param name="entriesLg2">log2 of the number of entries, at most 20; -1 for a cache that keeps nothing.</param>
    public IoTlb(int entriesLg2 = 12)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(entriesLg2, 20);
        _count = entriesLg2 < 0 ? 0 : 1 << entriesLg2;
        _groupLg2 = Math.Max(0, entriesLg2 - 6);
        _entries = (Entry*)NativeMemory.AllocZeroed((nuint)Math.Max(1, _count), (nuint)sizeof(Entry));
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
            _used |= 1UL << (index >> _groupLg2);
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
            _used = 0;
            new Span<Entry>(_entries, _count).Clear();
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
            for (var groups = _used; groups != 0; groups &= groups - 1)
            {
                var group = BitOperations.TrailingZeroCount(groups);
                var keeps = false;
                var start = _entries + (group << _groupLg2);
                for (var entry = start; entry < start + (1 << _groupLg2); entry++)
                {
                    if (!Matches(entry, 0, 0))
                        continue;
                    var page = (entry->PageTag ^ entry->Value) << 12;
                    var inPage = (1UL << (int)(entry->Value >> 4 & 63)) - 1;
                    if (Matches(entry, space, mask) && (page & ~inPage) <= last && (page | inPage) >= first)
                        *entry = default;
                    else
                        keeps = true;
                }

                if (!keeps)
                    _used &= ~(1UL << group);
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
