using System.Numerics;

namespace IommuFd.HwSim.PageTables;

/// <summary>Receives the pages that hardware has written. Implemented by structs.</summary>
public interface IDirtySink
{
    /// <summary>A page, or the part of it that was asked for, was written.</summary>
    /// <param name="address">First input address.</param>
    /// <param name="length">Bytes.</param>
    void Dirty(ulong address, ulong length);
}

// SAFETY: as in PageTable.cs.
public sealed unsafe partial class PageTable<TFormat>
{
    /// <summary>
    /// Finds the pages that hardware has written, and clears their dirty state if asked to. Holes are skipped. After a clear the unit's IOTLB must be
    /// invalidated, or it goes on writing without telling.
    /// </summary>
    /// <typeparam name="TSink">Who is told.</typeparam>
    /// <param name="address">First input address.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="sink">Told of every dirty page; a page of several entries can be told once per entry.</param>
    /// <param name="clear">Clear the dirty state of the pages found.</param>
    /// <returns>0, or -ERANGE when the range is outside the tables.</returns>
    public int ReadDirty<TSink>(ulong address, ulong length, ref TSink sink, bool clear)
        where TSink : struct, IDirtySink, allows ref struct
    {
        var last = address + length - 1;
        if (length == 0 || last < address || !_geometry.Contains(address) || !_geometry.Contains(last))
            return -Native.Errno.ERANGE;
        var range = new DirtyRange(address & _geometry.InputMask, last & _geometry.InputMask, address, clear);
        DirtyTable(_root, _geometry.TopLevel, range.First, range.Last, range, ref sink);
        return 0;
    }

    /// <summary>As the other, into a bitmap.</summary>
    /// <param name="address">First input address; bit 0 of the bitmap.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="bitmap">One bit per <paramref name="bitmapPage"/> bytes; set where a page was written, other bits are left alone.</param>
    /// <param name="bitmapPage">Bytes per bit, a power of two.</param>
    /// <param name="clear">Clear the dirty state of the pages found.</param>
    /// <returns>0, or -ERANGE when the range is outside the tables or the bitmap too small.</returns>
    public int ReadDirty(ulong address, ulong length, Span<ulong> bitmap, ulong bitmapPage, bool clear)
    {
        if (length != 0 && (length - 1) / bitmapPage / 64 >= (ulong)bitmap.Length)
            return -Native.Errno.ERANGE;
        var sink = new BitmapSink(address, BitOperations.Log2(bitmapPage), bitmap);
        return ReadDirty(address, length, ref sink, clear);
    }

    private readonly ref struct BitmapSink(ulong first, int pageLg2, Span<ulong> bitmap) : IDirtySink
    {
        private readonly Span<ulong> _bitmap = bitmap;

        public void Dirty(ulong address, ulong length)
        {
            for (var bit = (address - first) >> pageLg2; bit <= (address + (length - 1) - first) >> pageLg2; bit++)
                _bitmap[(int)(bit / 64)] |= 1UL << (int)(bit % 64);
        }
    }

    // Addresses inside the tables, and what to add to get back to the caller's (sign extension).
    private readonly record struct DirtyRange(ulong First, ulong Last, ulong Address, bool Clear);

    private void DirtyTable<TSink>(byte* table, int level, ulong address, ulong last, in DirtyRange range, ref TSink sink)
        where TSink : struct, IDirtySink, allows ref struct
    {
        var itemLg2 = TFormat.ItemSizeLg2(_geometry, level);
        var mask = (1UL << ItemsLg2(level)) - 1;
        var lastIndex = (int)((last >> itemLg2) & mask);
        for (var index = (int)((address >> itemLg2) & mask); index <= lastIndex; index++)
        {
            var entry = Load(table, index);
            var itemLast = address | ((1UL << itemLg2) - 1);
            if (entry != 0)
            {
                var kind = TFormat.KindOf(_geometry, level, entry);
                if (kind == EntryKind.Table && TableAt(entry, level - 1) is var below && below != null)
                    DirtyTable(below, level - 1, address, Math.Min(last, itemLast), range, ref sink);
                else if (kind == EntryKind.Leaf)
                    DirtyLeaf(table, index, level, address, entry, range, ref sink);
            }

            address = itemLast + 1;
        }
    }

    // A page of several entries is dirty when any of them is.
    private void DirtyLeaf<TSink>(byte* table, int index, int level, ulong address, ulong entry, in DirtyRange range, ref TSink sink)
        where TSink : struct, IDirtySink, allows ref struct
    {
        if ((TFormat.Attributes(_geometry, level, entry) & PageAttributes.Dirty) == 0)
            return;
        var page = (1UL << TFormat.LeafSizeLg2(_geometry, level, entry)) - 1;
        var first = Math.Max(address & ~page, range.First);
        sink.Dirty(range.Address + (first - range.First), Math.Min(address | page, range.Last) - first + 1);
        while (range.Clear)
        {
            // Hardware may set the accessed bit at the same moment: what it wrote is kept.
            var found = TFormat.EntrySizeLg2 == 3
                ? Interlocked.CompareExchange(ref ((ulong*)table)[index], TFormat.ClearDirty(entry), entry)
                : Interlocked.CompareExchange(ref ((uint*)table)[index], (uint)TFormat.ClearDirty(entry), (uint)entry);
            if (found == entry)
                return;
            entry = found;
        }
    }
}
