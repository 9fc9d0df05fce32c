namespace IommuFd.HwSim.PageTables;

// SAFETY: as in PageTable.cs.
public sealed unsafe partial class PageTable<TFormat>
{
    /// <summary>
    /// Finds the pages that hardware has written, and clears their dirty state if asked to. Holes are skipped. After a clear the unit's IOTLB must be invalidated,
    /// or it goes on writing without telling.
    /// </summary>
    /// <param name="address">First input address; bit 0 of the bitmap.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="bitmap">One bit per <paramref name="bitmapPage"/> bytes; set where a page was written, other bits are left alone.</param>
    /// <param name="bitmapPage">Bytes per bit, a power of two.</param>
    /// <param name="clear">Clear the dirty state of the pages found.</param>
    /// <returns>0, or -ERANGE when the range is outside the tables or the bitmap too small.</returns>
    public int ReadDirty(ulong address, ulong length, Span<ulong> bitmap, ulong bitmapPage, bool clear)
    {
        var last = address + length - 1;
        if (length == 0 || last < address || !_geometry.Contains(address) || !_geometry.Contains(last) || (length - 1) / bitmapPage / 64 >= (ulong)bitmap.Length)
            return -Native.Errno.ERANGE;
        fixed (ulong* bits = bitmap)
        {
            var range = new DirtyRange(address & _geometry.InputMask, last & _geometry.InputMask, bits, System.Numerics.BitOperations.Log2(bitmapPage), clear);
            DirtyTable(_root, _geometry.TopLevel, range.First, range.Last, range);
        }

        return 0;
    }

    private readonly struct DirtyRange(ulong first, ulong last, ulong* bitmap, int bitmapPageLg2, bool clear)
    {
        public readonly ulong First = first, Last = last;
        public readonly bool Clear = clear;

        public void Mark(ulong from, ulong to)
        {
            var bit = (Math.Max(from, First) - First) >> bitmapPageLg2;
            var end = (Math.Min(to, Last) - First) >> bitmapPageLg2;
            for (; bit <= end; bit++)
                bitmap[bit / 64] |= 1UL << (int)(bit % 64);
        }
    }

    private void DirtyTable(byte* table, int level, ulong address, ulong last, in DirtyRange range)
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
                    DirtyTable(below, level - 1, address, Math.Min(last, itemLast), range);
                else if (kind == EntryKind.Leaf)
                    DirtyLeaf(table, index, level, address, entry, range);
            }

            address = itemLast + 1;
        }
    }

    // A page of several entries is dirty when any of them is; all are cleared at its last entry in the range.
    private void DirtyLeaf(byte* table, int index, int level, ulong address, ulong entry, in DirtyRange range)
    {
        if ((TFormat.Attributes(_geometry, level, entry) & PageAttributes.Dirty) == 0)
            return;
        var page = (1UL << TFormat.LeafSizeLg2(_geometry, level, entry)) - 1;
        range.Mark(address & ~page, address | page);
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
