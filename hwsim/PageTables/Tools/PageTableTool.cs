namespace IommuFd.HwSim.PageTables;

/// <summary>A format in one configuration behind one face that does not name the format's type: for tools that get it as a word.</summary>
/// <remarks>
/// Programs that know their format use <see cref="PageTable{TFormat}"/> and <see cref="PageTableWalker{TFormat}"/>, which cost nothing per call.
/// </remarks>
public abstract class PageTableTool
{
    private protected PageTableTool(string name, in PageTableGeometry geometry)
    {
        Name = name;
        Geometry = geometry;
    }

    /// <summary>The name it was found by (<see cref="PageTableFormats"/>).</summary>
    public string Name { get; }

    /// <summary>The configuration.</summary>
    public PageTableGeometry Geometry { get; }

    /// <summary>Bytes of an entry: 8, or 4 for Sv32.</summary>
    public abstract int EntryBytes { get; }

    /// <summary>Walks to an address and explains every step.</summary>
    /// <param name="memory">Where the tables are.</param>
    /// <param name="root">Physical address of the root table.</param>
    /// <param name="address">Input address (IOVA).</param>
    /// <param name="access">What the walk is for.</param>
    public abstract WalkExplanation Walk(PhysicalMemory memory, ulong root, ulong address, WalkAccess access);

    /// <summary>Walks to an address without explaining; nothing is allocated.</summary>
    /// <inheritdoc cref="Walk"/>
    /// <param name="memory">Where the tables are.</param>
    /// <param name="root">Physical address of the root table.</param>
    /// <param name="address">Input address (IOVA).</param>
    /// <param name="access">What the walk is for.</param>
    /// <param name="result">The translation, or the entry at which the walk ended.</param>
    /// <returns>True when there is a translation that allows the access.</returns>
    public abstract bool Translate(PhysicalMemory memory, ulong root, ulong address, WalkAccess access, out WalkResult result);

    /// <summary>Explains one entry, as a walk would see it at this level.</summary>
    /// <param name="level">Level, 0 = smallest pages.</param>
    /// <param name="entry">The entry.</param>
    public abstract EntryExplanation Decode(int level, ulong entry);

    /// <summary>All pages in order of their addresses.</summary>
    /// <param name="memory">Where the tables are.</param>
    /// <param name="root">Physical address of the root table.</param>
    public abstract IEnumerable<PageTableLeaf> Leaves(PhysicalMemory memory, ulong root);

    /// <summary>Makes an empty table.</summary>
    /// <param name="memory">Where the tables go.</param>
    public abstract IPageTableBuilder Build(PhysicalMemory memory);
}

/// <summary>Builds a table without naming the format's type.</summary>
public interface IPageTableBuilder : IDisposable
{
    /// <summary>Physical address of the root table.</summary>
    ulong Root { get; }

    /// <summary>Maps a range with the best page sizes.</summary>
    /// <param name="address">First input address.</param>
    /// <param name="output">First output address.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="attributes">What the pages allow.</param>
    /// <returns>0, or -EINVAL (alignment, attributes), -ERANGE (too wide), -EADDRINUSE (mapped already), -ENOMEM (arena full).</returns>
    int Map(ulong address, ulong output, ulong length, PageAttributes attributes);
}
