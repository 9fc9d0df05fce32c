using IommuFd.Native;

namespace IommuFd.HwSim.PageTables;

// SAFETY: as in PageTable.cs; the position (one table per level) is kept only during one call.
public sealed unsafe partial class PageTable<TFormat>
{
    /// <summary>Maps a range with the largest pages that its addresses allow.</summary>
    /// <param name="address">First input address, a multiple of the smallest page.</param>
    /// <param name="output">First output address, a multiple of the smallest page.</param>
    /// <param name="length">Bytes, a multiple of the smallest page.</param>
    /// <param name="attributes">What the pages allow.</param>
    /// <returns>0, or -EINVAL (alignment, attributes), -ERANGE (an address too wide), -EADDRINUSE (a page is mapped there), -ENOMEM (arena full). On
    /// error nothing has changed.</returns>
    public int Map(ulong address, ulong output, ulong length, PageAttributes attributes)
    {
        if (!TFormat.TryEncode(_geometry, attributes, out var bits))
            return -Errno.EINVAL;
        var granule = _sizes & (0 - _sizes);
        if (((address | output | length) & (granule - 1)) != 0 || length == 0)
            return -Errno.EINVAL;
        var last = address + length - 1;
        var lastOutput = output + length - 1;
        if (last < address || lastOutput < output || lastOutput >> _geometry.OutputBits != 0)
            return -Errno.ERANGE;
        if (_geometry.Has(PageTableFeatures.DynamicTop))
        {
            var grown = Grow(last);
            if (grown != 0)
                return grown;
        }

        if (!_geometry.Contains(address) || !_geometry.Contains(last) || (_geometry.Has(PageTableFeatures.SignExtend) && (address ^ last) >> 63 != 0))
            return -Errno.ERANGE;

        var first = address & _geometry.InputMask;
        last &= _geometry.InputMask;
        if (first == last - (granule - 1) && _smallestIsEntry)
            return MapOne(first, output, bits);
        var result = MapRange(first, last, output, bits, out var done);
        _spares.Return(_memory);
        if (result != 0 && done != 0)
            Unmap(address, done);
        return result;
    }

    // A single page of the smallest size, which needs no choice.
    private int MapOne(ulong address, ulong output, ulong bits)
    {
        var table = _root;
        var level = _geometry.TopLevel;
        for (; level > 0; level--)
        {
            table = Descend(table, level, address, out _, out var error);
            if (table == null)
                return error;
        }

        var itemLg2 = TFormat.ItemSizeLg2(_geometry, 0);
        var index = (int)((address >> itemLg2) & ((1UL << ItemsLg2(0)) - 1));
        if (Load(table, index) != 0)
            return -Errno.EADDRINUSE;
        Store(table, index, TFormat.MakeLeaf(_geometry, 0, itemLg2, output, bits));
        return 0;
    }

    private int MapRange(ulong address, ulong last, ulong output, ulong bits, out ulong done)
    {
        var start = address;
        done = 0;
        var level = _geometry.TopLevel;
        var tables = stackalloc byte*[MaxLevels];
        var tableLast = stackalloc ulong[MaxLevels];
        tables[level] = _root;
        tableLast[level] = _geometry.InputMask;
        var fresh = false;
        while (true)
        {
            var sizeLg2 = PageSizeChoice.Best(_sizes, address, last, output);
            var leafLevel = LevelOfSize(sizeLg2);
            while (address > tableLast[level])
                level++;
            if (level < leafLevel)
                level = leafLevel;
            for (; level > leafLevel; level--)
            {
                if (level == leafLevel + 1)
                {
                    var result = FillTables(tables[level], level, sizeLg2, address, Math.Min(last, tableLast[level]), output, bits, out var filled);
                    done += filled;
                    if (result != 0 || filled > last - address)
                        return result;
                    if (filled != 0)
                    {
                        address += filled;
                        output += filled;
                        break;
                    }
                }

                var below = Descend(tables[level], level, address, out fresh, out var error);
                if (below == null)
                    return error;
                tables[level - 1] = below;
                tableLast[level - 1] = address | ((1UL << TFormat.ItemSizeLg2(_geometry, level)) - 1);
            }

            if (level != leafLevel)
            {
                fresh = false;
                continue;
            }

            var itemLg2 = TFormat.ItemSizeLg2(_geometry, level);
            var pages = PageSizeChoice.Run(_sizes, sizeLg2, address, Math.Min(last, tableLast[level]), output);
            var perPageLg2 = sizeLg2 - itemLg2;
            var index = (int)((address >> itemLg2) & ((1UL << ItemsLg2(level)) - 1));
            var count = (int)(pages << perPageLg2);
            if (!fresh && !MakeRoom(tables[level], level, index, count))
                return -Errno.EADDRINUSE;
            fresh = false;
            Fill(tables[level], level, index, (int)pages, sizeLg2, perPageLg2, output, bits);

            var bytes = pages << sizeLg2;
            done += bytes;
            if (address + (bytes - 1) >= last)
                return 0;
            address += bytes;
            output += bytes;
        }
    }

    // The tables of a long range, one after the other, as far as they are new, alike, filled from end to end and below this one. A walker finds each
    // only when it is full, so it need not be zeroed. Returns 0, with how many bytes are mapped (none where a table is of another kind), or -ENOMEM.
    private int FillTables(byte* table, int level, int sizeLg2, ulong address, ulong last, ulong output, ulong bits, out ulong filled)
    {
        filled = 0;
        var itemLg2 = TFormat.ItemSizeLg2(_geometry, level);
        if ((address & ((1UL << itemLg2) - 1)) != 0 || last - address < (1UL << itemLg2) - 1)
            return 0;
        var wanted = PageSizeChoice.Run(_sizes, sizeLg2, address, last, output) << sizeLg2 >> itemLg2;
        if (wanted == 0 || TableSizeLg2(level - 1) != 12 || !IsStraight(sizeLg2, TFormat.ItemSizeLg2(_geometry, level - 1), out var step)
            || !TFormat.IsLinear(_geometry, output, output + (wanted << itemLg2) - 1))
            return 0;
        var entry = TFormat.MakeLeaf(_geometry, level - 1, sizeLg2, output, bits);
        var items = 1 << ItemsLg2(level - 1);
        var index = (int)((address >> itemLg2) & ((1UL << ItemsLg2(level)) - 1));
        for (; wanted != 0 && Load(table, index) == 0; wanted--, index++, filled += 1UL << itemLg2, entry += step * (ulong)items)
        {
            var below = _spares.Take(_memory, wanted);
            if (below == 0)
                return -Errno.ENOMEM;
            FillRun(_memory.TryGet(below, 4096), 0, items, entry, step);
            TableBytes += 4096;
            Store(table, index, TFormat.MakeTable(_geometry, level, below));
        }

        return 0;
    }

    // One page per entry, or every entry of a run has its own address: a straight line either way.
    private static bool IsStraight(int sizeLg2, int itemLg2, out ulong step)
    {
        step = sizeLg2 == itemLg2 ? TFormat.AddressStep(1UL << sizeLg2) : TFormat.ContiguousStep(1UL << itemLg2);
        return step != 0;
    }

    private byte* Descend(byte* table, int level, ulong address, out bool fresh, out int error)
    {
        fresh = false;
        error = -Errno.EADDRINUSE;
        var index = (int)((address >> TFormat.ItemSizeLg2(_geometry, level)) & ((1UL << ItemsLg2(level)) - 1));
        var entry = Load(table, index);
        if (entry != 0)
        {
            if (TFormat.KindOf(_geometry, level, entry) == EntryKind.Table)
                return TableAt(entry, level - 1);
            return null;
        }

        var sizeLg2 = TableSizeLg2(level - 1);
        var below = _memory.Allocate(sizeLg2);
        if (below == 0)
        {
            error = -Errno.ENOMEM;
            return null;
        }

        TableBytes += 1UL << Math.Max(12, sizeLg2);
        fresh = true;
        Store(table, index, TFormat.MakeTable(_geometry, level, below));
        return _memory.TryGet(below, 1UL << sizeLg2);
    }

    // Entries that are to become pages must be empty, or point to tables that hold no page: those are freed.
    private bool MakeRoom(byte* table, int level, int index, int count)
    {
        var free = TFormat.EntrySizeLg2 == 3 ? EntryFill.CountZero((ulong*)table + index, count) : EntryFill.CountZero((uint*)table + index, count);
        if (free == count)
            return true;
        if (level == 0)
            return false;
        for (var i = index + free; i < index + count; i++)
        {
            var entry = Load(table, i);
            if (entry != 0 && (TFormat.KindOf(_geometry, level, entry) != EntryKind.Table || !IsEmpty(TableAt(entry, level - 1), level - 1)))
                return false;
        }

        for (var i = index + free; i < index + count; i++)
        {
            var entry = Load(table, i);
            if (entry == 0)
                continue;
            Store(table, i, 0);
            FreeBelow(TableAt(entry, level - 1), level - 1, 1 << ItemsLg2(level - 1));
            FreeTable(entry, level - 1);
        }

        return true;
    }

    private bool IsEmpty(byte* table, int level)
    {
        if (table == null)
            return false;
        var items = 1 << ItemsLg2(level);
        for (var i = 0; i < items; i++)
        {
            var entry = Load(table, i);
            if (entry == 0)
                continue;
            if (level == 0 || TFormat.KindOf(_geometry, level, entry) != EntryKind.Table || !IsEmpty(TableAt(entry, level - 1), level - 1))
                return false;
        }

        return true;
    }

    private void Fill(byte* table, int level, int index, int pages, int sizeLg2, int perPageLg2, ulong output, ulong bits)
    {
        var page = 1UL << sizeLg2;
        if (!TFormat.IsLinear(_geometry, output, output + (page * (ulong)pages) - 1))
        {
            for (var i = 0; i < pages; i++)
                FillRun(table, index + (i << perPageLg2), 1 << perPageLg2,
                    TFormat.MakeLeaf(_geometry, level, sizeLg2, output + ((ulong)i * page), bits),
                    perPageLg2 == 0 ? 0 : TFormat.ContiguousStep(page >> perPageLg2));
            return;
        }

        var entry = TFormat.MakeLeaf(_geometry, level, sizeLg2, output, bits);
        if (IsStraight(sizeLg2, sizeLg2 - perPageLg2, out var step))
        {
            FillRun(table, index, pages << perPageLg2, entry, step);
            return;
        }

        for (var i = 0; i < pages; i++, entry += TFormat.AddressStep(page))
            FillRun(table, index + (i << perPageLg2), 1 << perPageLg2, entry, 0);
    }

    private static void FillRun(byte* table, int index, int count, ulong first, ulong step)
    {
        if (count == 1)
            Store(table, index, first);
        else if (TFormat.EntrySizeLg2 == 3)
            EntryFill.Linear((ulong*)table + index, count, first, step);
        else
            EntryFill.Linear((uint*)table + index, count, (uint)first, (uint)step);
    }

    // AMD v1 style: a new root is put on top whose first entry is the old root.
    private int Grow(ulong last)
    {
        while (_geometry.InputBits < 64 && last >> _geometry.InputBits != 0)
        {
            var top = _geometry.TopLevel;
            var grown = _geometry with { TopLevel = top + 1, InputBits = Math.Min(64, TFormat.ItemSizeLg2(_geometry, top + 2)) };
            if (top + 1 >= MaxLevels || TFormat.LeafSizes(grown, top + 1) == 0 && grown.InputBits == _geometry.InputBits)
                return -Errno.ERANGE;
            var root = _memory.Allocate();
            if (root == 0)
                return -Errno.ENOMEM;
            TableBytes += 4096;
            var table = _memory.TryGet(root, 4096);
            Store(table, 0, TFormat.MakeTable(grown, top + 1, Root));
            _geometry = grown;
            SetSizes();
            _root = table;
            Root = root;
        }

        return 0;
    }
}
