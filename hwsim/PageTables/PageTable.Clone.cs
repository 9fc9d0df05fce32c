namespace IommuFd.HwSim.PageTables;

// SAFETY: as in PageTable.cs; the copy has the same shape, so indexes are good in both.
public sealed unsafe partial class PageTable<TFormat>
{
    /// <summary>A second table with the same pages, attributes and accessed/dirty state, in tables of its own.</summary>
    /// <exception cref="InvalidOperationException">The arena is full.</exception>
    public PageTable<TFormat> Clone()
    {
        var copy = new PageTable<TFormat>(_memory, _geometry);
        if (CopyTable(_root, copy._root, _geometry.TopLevel, 1 << (RootSizeLg2 - TFormat.EntrySizeLg2), copy))
            return copy;
        copy.Dispose();
        throw new InvalidOperationException("The arena is full: no room for a copy of the tables. Use a larger ArenaSize.");
    }

    private bool CopyTable(byte* from, byte* to, int level, int items, PageTable<TFormat> copy)
    {
        for (var i = 0; i < items; i++)
        {
            var entry = Load(from, i);
            if (entry == 0)
                continue;
            if (level == 0 || TFormat.KindOf(_geometry, level, entry) != EntryKind.Table)
            {
                Store(to, i, entry);
                continue;
            }

            var source = TableAt(entry, level - 1);
            if (source == null)
                continue;
            var address = _memory.Allocate(TableSizeLg2(level - 1));
            if (address == 0)
                return false;
            copy.TableBytes += 1UL << Math.Max(12, TableSizeLg2(level - 1));
            Store(to, i, TFormat.MakeTable(_geometry, level, address));
            if (!CopyTable(source, _memory.TryGet(address, 1UL << TableSizeLg2(level - 1)), level - 1, 1 << ItemsLg2(level - 1), copy))
                return false;
        }

        return true;
    }
}
