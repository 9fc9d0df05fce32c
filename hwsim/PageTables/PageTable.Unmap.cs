namespace IommuFd.HwSim.PageTables;

// SAFETY: as in PageTable.cs.
public sealed unsafe partial class PageTable<TFormat>
{
    /// <summary>
    /// Removes the pages that begin in a range. It stops at the first hole and at a page that begins before the range; a page that ends after the
    /// range goes whole, so the result can be larger than what was asked for.
    /// </summary>
    /// <param name="address">First input address.</param>
    /// <param name="length">Bytes, at least 1.</param>
    /// <returns>Bytes removed, from <paramref name="address"/> on.</returns>
    public ulong Unmap(ulong address, ulong length)
    {
        var last = address + length - 1;
        if (length == 0 || last < address || !_geometry.Contains(address) || !_geometry.Contains(last)
            || (_geometry.Has(PageTableFeatures.SignExtend) && (address ^ last) >> 63 != 0))
            return 0;
        ulong removed = 0;
        UnmapTable(_root, _geometry.TopLevel, address & _geometry.InputMask, last & _geometry.InputMask, ref removed);
        return removed;
    }

    // Returns false when the walk must stop.
    private bool UnmapTable(byte* table, int level, ulong address, ulong last, ref ulong removed)
    {
        var itemLg2 = TFormat.ItemSizeLg2(_geometry, level);
        var mask = (1UL << ItemsLg2(level)) - 1;
        var index = (int)((address >> itemLg2) & mask);
        var lastIndex = (int)((last >> itemLg2) & mask);
        var onlyItems = TFormat.LeafSizes(_geometry, level) == 1UL << itemLg2;
        while (index <= lastIndex)
        {
            var entry = Load(table, index);
            if (entry == 0)
                return false;
            if (level == 0 && onlyItems)
            {
                if ((address & ((1UL << itemLg2) - 1)) != 0)
                    return false;
                return ClearPages(table, index, lastIndex - index + 1, itemLg2, ref removed);
            }

            if (TFormat.KindOf(_geometry, level, entry) == EntryKind.Table)
            {
                var itemLast = address | ((1UL << itemLg2) - 1);
                var whole = (address & ((1UL << itemLg2) - 1)) == 0 && itemLast <= last;
                var below = TableAt(entry, level - 1);
                if (below == null || !UnmapTable(below, level - 1, address, Math.Min(last, itemLast), ref removed))
                    return false;
                if (whole)
                {
                    Store(table, index, 0);
                    FreeTable(entry, level - 1);
                }

                index++;
                address = itemLast + 1;
                continue;
            }

            var sizeLg2 = TFormat.LeafSizeLg2(_geometry, level, entry);
            if ((address & ((1UL << sizeLg2) - 1)) != 0)
                return false;
            var count = 1 << (sizeLg2 - itemLg2);
            Clear(table, index, count);
            removed += 1UL << sizeLg2;
            index += count;
            address += 1UL << sizeLg2;
        }

        return true;
    }

    private static bool ClearPages(byte* table, int index, int count, int itemLg2, ref ulong removed)
    {
        var used = count == 1 ? 1
            : TFormat.EntrySizeLg2 == 3 ? EntryFill.CountUsed((ulong*)table + index, count) : EntryFill.CountUsed((uint*)table + index, count);
        Clear(table, index, used);
        removed += (ulong)used << itemLg2;
        return used == count;
    }

    private static void Clear(byte* table, int index, int count)
    {
        if (count == 1)
            Store(table, index, 0);
        else
            new Span<byte>(table + (index << TFormat.EntrySizeLg2), count << TFormat.EntrySizeLg2).Clear();
    }
}
