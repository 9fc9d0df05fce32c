namespace IommuFd.HwSim.PageTables;

/// <summary>
/// Where a walk reads its tables: straight from physical memory, or through a second stage. Implemented by structs so that it costs nothing.
/// </summary>
public unsafe interface ITableReader
{
    /// <summary>The host pointer to an entry.</summary>
    /// <param name="address">Address of the entry, in the space that the tables are in; naturally aligned.</param>
    /// <param name="length">4 or 8 bytes.</param>
    /// <param name="fault"><see cref="WalkFault.TableOutsideMemory"/> or <see cref="WalkFault.TableTranslation"/> when null is returned.</param>
    byte* Entry(ulong address, int length, ref WalkFault fault);

    /// <summary>The host pointer to an entry of a plain table, where it can be had without more than a glance.</summary>
    /// <param name="address">Address of the entry.</param>
    /// <returns>Null when it must be asked for with <see cref="Entry"/>.</returns>
    byte* Plain(ulong address);

    /// <summary>Asked before an accessed or dirty bit is written.</summary>
    /// <param name="address">Address of the entry.</param>
    /// <param name="fault">Set when the answer is no.</param>
    bool CanWrite(ulong address, ref WalkFault fault);

    /// <summary>Told of every entry that the walk looks at.</summary>
    /// <param name="level">Level of the table.</param>
    /// <param name="index">Index of the entry in its table.</param>
    /// <param name="address">Address of the entry.</param>
    /// <param name="entry">The entry.</param>
    /// <param name="kind">What it is.</param>
    void Visit(int level, int index, ulong address, ulong entry, EntryKind kind);
}

/// <summary>Tables in physical memory; nothing is recorded.</summary>
/// <param name="memory">The memory.</param>
// SAFETY: PhysicalMemory gives pointers for checked ranges only.
public readonly unsafe struct DirectTableReader(PhysicalMemory memory) : ITableReader
{
    /// <inheritdoc/>
    public byte* Entry(ulong address, int length, ref WalkFault fault)
    {
        var p = memory.TryGet(address, (ulong)length);
        if (p == null)
            fault = WalkFault.TableOutsideMemory;
        return p;
    }

    /// <inheritdoc/>
    public byte* Plain(ulong address) => memory.TryGet(address, 8);

    /// <inheritdoc/>
    public bool CanWrite(ulong address, ref WalkFault fault) => true;

    /// <inheritdoc/>
    public void Visit(int level, int index, ulong address, ulong entry, EntryKind kind)
    {
    }
}
