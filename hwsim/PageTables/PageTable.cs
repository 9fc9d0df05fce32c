namespace IommuFd.HwSim.PageTables;

/// <summary>
/// Builds page tables in physical memory, as an IOMMU driver does: map with the best page sizes, unmap, read and clear dirty state.
/// One table has one owner: calls on one object must not overlap. Walkers may read the tables at any time.
/// </summary>
/// <typeparam name="TFormat">The format.</typeparam>
/// <remarks>
/// Rules are those of the kernel's generic page tables: mapping over a page is EADDRINUSE and changes nothing; unmapping takes whole pages, a page
/// that begins inside the range goes even when it ends beyond; a table is freed when an unmap covers all that it could map, and an empty one makes
/// way for a larger page.
/// </remarks>
// SAFETY (whole class): tables are allocated from the arena and freed only here; their pointers come from PhysicalMemory for the whole table.
public sealed unsafe partial class PageTable<TFormat> : IDisposable
    where TFormat : struct, IPageTableFormat
{
    private const int MaxLevels = 7;
    private readonly PhysicalMemory _memory;
    private PageTableGeometry _geometry;
    private ulong _sizes;
    private bool _smallestIsEntry;
    private byte* _root;
    private SpareTables _spares;

    /// <summary>Makes an empty table.</summary>
    /// <param name="memory">Where the tables go.</param>
    /// <param name="geometry">The configuration, from the format.</param>
    /// <exception cref="InvalidOperationException">The arena is full.</exception>
    public PageTable(PhysicalMemory memory, in PageTableGeometry geometry)
    {
        ArgumentNullException.ThrowIfNull(memory);
        _memory = memory;
        _geometry = geometry;
        SetSizes();
        Root = memory.Allocate(RootSizeLg2);
        if (Root == 0)
            throw new InvalidOperationException("The arena is full: no room for a root table. Use a larger ArenaSize.");
        TableBytes = 1UL << RootSizeLg2;
        _root = memory.TryGet(Root, 1UL << RootSizeLg2);
    }

    /// <summary>The configuration. With <see cref="PageTableFeatures.DynamicTop"/> its top level grows.</summary>
    public PageTableGeometry Geometry => _geometry;

    /// <summary>Physical address of the root table; changes when the top level grows.</summary>
    public ulong Root { get; private set; }

    /// <summary>Page sizes that are used, bit n for 2^n bytes.</summary>
    public ulong PageSizes => _sizes;

    /// <summary>Bytes in all tables, the root included.</summary>
    public ulong TableBytes { get; private set; }

    /// <summary>A walker over this table as it is now (root and configuration are taken at this moment).</summary>
    public PageTableWalker<TFormat> Walker => new(_memory, _geometry, Root);

    // A root can be smaller than a page (few address bits) or larger (x4, concatenated); at least a page is allocated.
    private int RootSizeLg2 => Math.Max(12, _geometry.InputBits - TFormat.ItemSizeLg2(_geometry, _geometry.TopLevel) + TFormat.EntrySizeLg2);

    /// <summary>Output address of an input address, by a walk that asks for no permission.</summary>
    /// <param name="address">Input address.</param>
    /// <param name="output">Output address; 0 when not mapped.</param>
    /// <returns>True when mapped.</returns>
    public bool TryTranslate(ulong address, out ulong output)
    {
        var reader = new DirectTableReader(_memory);
        var ok = TableWalk.Walk<TFormat, DirectTableReader>(_geometry, Root, ref reader, address, WalkAccess.None, out var result);
        output = ok ? result.Output : 0;
        return ok;
    }

    /// <summary>Frees all tables. Nothing may walk them afterwards.</summary>
    public void Dispose()
    {
        if (_root == null)
            return;
        FreeBelow(_root, _geometry.TopLevel, 1 << (RootSizeLg2 - TFormat.EntrySizeLg2));
        _memory.Free(Root, RootSizeLg2);
        TableBytes = 0;
        _root = null;
    }

    private void SetSizes()
    {
        ulong sizes = 0;
        for (var level = 0; level <= _geometry.TopLevel; level++)
            sizes |= TFormat.LeafSizes(_geometry, level);
        _sizes = sizes & _geometry.PageSizes;
        _smallestIsEntry = (_sizes & (0 - _sizes)) == 1UL << TFormat.ItemSizeLg2(_geometry, 0);
    }

    private int LevelOfSize(int sizeLg2)
    {
        // The highest level whose entries are not larger than the page: a page of several entries is made of the largest entries possible.
        var level = 0;
        while (level < _geometry.TopLevel && (TFormat.LeafSizes(_geometry, level) >> sizeLg2 & 1) == 0)
            level++;
        return level;
    }

    private int ItemsLg2(int level) => level == _geometry.TopLevel
        ? _geometry.InputBits - TFormat.ItemSizeLg2(_geometry, level)
        : TFormat.ItemSizeLg2(_geometry, level + 1) - TFormat.ItemSizeLg2(_geometry, level);

    private int TableSizeLg2(int level) => TFormat.ItemSizeLg2(_geometry, level + 1) - TFormat.ItemSizeLg2(_geometry, level) + TFormat.EntrySizeLg2;

    private static ulong Load(byte* table, int index) => TFormat.EntrySizeLg2 == 3 ? ((ulong*)table)[index] : ((uint*)table)[index];

    private static void Store(byte* table, int index, ulong entry)
    {
        if (TFormat.EntrySizeLg2 == 3)
            Volatile.Write(ref ((ulong*)table)[index], entry);
        else
            Volatile.Write(ref ((uint*)table)[index], (uint)entry);
    }

    // Every pointer in our tables is ours, unless a device was allowed to write over them: then null, and the subtree is left alone.
    private byte* TableAt(ulong entry, int level) => _memory.TryGet(TFormat.TableAddress(_geometry, entry), 1UL << TableSizeLg2(level));

    private void FreeTable(ulong entry, int level)
    {
        _memory.Free(TFormat.TableAddress(_geometry, entry), TableSizeLg2(level));
        TableBytes -= 1UL << Math.Max(12, TableSizeLg2(level));
    }

    private void FreeBelow(byte* table, int level, int items)
    {
        if (level == 0)
            return;
        for (var i = 0; i < items; i++)
        {
            var entry = Load(table, i);
            if (entry == 0 || TFormat.KindOf(_geometry, level, entry) != EntryKind.Table)
                continue;
            var below = TableAt(entry, level - 1);
            if (below == null)
                continue;
            FreeBelow(below, level - 1, 1 << ItemsLg2(level - 1));
            FreeTable(entry, level - 1);
        }
    }
}
