using System.Runtime.CompilerServices;

namespace IommuFd.HwSim.PageTables;

/// <summary>One entry that a walk looked at.</summary>
/// <param name="Level">Level of the table; 0 holds the smallest pages.</param>
/// <param name="Index">Index in the table.</param>
/// <param name="EntryAddress">Physical address of the entry.</param>
/// <param name="Entry">The entry.</param>
/// <param name="Kind">What it is.</param>
public readonly record struct WalkStep(int Level, int Index, ulong EntryAddress, ulong Entry, EntryKind Kind);

/// <summary>Reads page tables in physical memory, as hardware does. It knows the format and nothing of how the tables were made.</summary>
/// <typeparam name="TFormat">The format.</typeparam>
public sealed partial class PageTableWalker<TFormat>
    where TFormat : struct, IPageTableFormat
{
    private readonly DirectTable _table;
    private readonly WalkPlan _plan;
    private readonly ulong _first;
    private readonly PageTableGeometry _geometry;

    /// <summary>A walker of the table at <paramref name="root"/>.</summary>
    /// <param name="memory">Where the tables are.</param>
    /// <param name="geometry">The table's configuration.</param>
    /// <param name="root">Physical address of the root table.</param>
    public PageTableWalker(PhysicalMemory memory, in PageTableGeometry geometry, ulong root)
    {
        ArgumentNullException.ThrowIfNull(memory);
        Memory = memory;
        _table = DirectTable.Of<TFormat>(memory, geometry, root);
        _plan = _table.Plan!;
        _first = root - _plan.ArenaBase;
        _geometry = geometry;
        Root = root;
    }

    /// <summary>Where the tables are.</summary>
    public PhysicalMemory Memory { get; }

    /// <summary>The table's configuration.</summary>
    public PageTableGeometry Geometry => _geometry;

    /// <summary>Physical address of the root table.</summary>
    public ulong Root { get; }

    /// <summary>Translates an address.</summary>
    /// <param name="address">Input address (IOVA).</param>
    /// <param name="access">What the walk is for.</param>
    /// <param name="result">The translation, or the entry at which the walk ended.</param>
    /// <returns>True when there is a translation that allows the access.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool Translate(ulong address, WalkAccess access, out WalkResult result) =>
        TableWalk.Walk<TFormat>(_plan, _first, address, access, access, out result);

    /// <summary>Translates an address and tells every step, for people.</summary>
    /// <param name="address">Input address (IOVA).</param>
    /// <param name="access">What the walk is for; accessed and dirty bits are not changed.</param>
    /// <param name="result">The translation, or the entry at which the walk ended.</param>
    /// <returns>The entries looked at, from the root down.</returns>
    public IReadOnlyList<WalkStep> Explain(ulong address, WalkAccess access, out WalkResult result)
    {
        var reader = new RecordingReader(new DirectTableReader(Memory), []);
        TableWalk.Walk<TFormat, RecordingReader>(_geometry, Root, ref reader, address, access & ~WalkAccess.UpdateAccessedDirty, out result);
        return reader.Steps;
    }

    private readonly unsafe struct RecordingReader(DirectTableReader inner, List<WalkStep> steps) : ITableReader
    {
        private readonly DirectTableReader _inner = inner;

        public List<WalkStep> Steps { get; } = steps;

        public byte* Entry(ulong address, int length, ref WalkFault fault) => _inner.Entry(address, length, ref fault);

        public byte* Plain(ulong address) => null;

        public bool CanWrite(ulong address, ref WalkFault fault) => true;

        public void Visit(int level, int index, ulong address, ulong entry, EntryKind kind) =>
            Steps.Add(new WalkStep(level, index, address, entry, kind));
    }
}
