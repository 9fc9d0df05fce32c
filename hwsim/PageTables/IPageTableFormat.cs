namespace IommuFd.HwSim.PageTables;

/// <summary>
/// A page-table format as its data book describes it: how entries are read and written, nothing about how tables are walked or built.
/// Implemented by empty structs, so that the builder and the walker are compiled once per format with everything inlined.
/// </summary>
/// <remarks>Members take any 64 bits as an entry: they classify and extract, they never fail. What most formats have in common is here.</remarks>
public interface IPageTableFormat
{
    /// <summary>The name used at the command line and in reports.</summary>
    static abstract string Name { get; }

    /// <summary>log2 of the bytes of an entry: 3, or 2 for Sv32.</summary>
    static virtual int EntrySizeLg2 => 3;

    /// <summary>True when using a table sets the accessed bit in the entry that points to it, not only in the leaf.</summary>
    static virtual bool AccessedInTables => false;

    /// <summary>True when a table entry can point to a table more than one level down.</summary>
    static virtual bool SkipsLevels => false;

    /// <summary>True when input addresses can be sign-extended (<see cref="PageTableFeatures.SignExtend"/>).</summary>
    static virtual bool HasSignedAddresses => false;

    /// <summary>log2 of the number of entries of a table below the root; 0 when it depends on the granule.</summary>
    static virtual int LevelBits => 9;

    /// <summary>How many bits lower than in the address its bits 31:12 are in an entry that points to a table.</summary>
    static virtual int AddressShift => 0;

    /// <summary>log2 of the bytes that one entry of this level maps.</summary>
    /// <param name="geometry">The table's configuration.</param>
    /// <param name="level">Level, 0 = smallest pages.</param>
    static abstract int ItemSizeLg2(in PageTableGeometry geometry, int level);

    /// <summary>
    /// Page sizes that leaves at this level can have, bit n for 2^n bytes; before <see cref="PageTableGeometry.PageSizes"/> is applied.
    /// </summary>
    /// <param name="geometry">The table's configuration.</param>
    /// <param name="level">Level.</param>
    static abstract ulong LeafSizes(in PageTableGeometry geometry, int level);

    /// <summary>What the entry is.</summary>
    /// <param name="geometry">The table's configuration.</param>
    /// <param name="level">Level of the table that holds the entry.</param>
    /// <param name="entry">The entry.</param>
    static abstract EntryKind KindOf(in PageTableGeometry geometry, int level, ulong entry);

    /// <summary>
    /// The bits of the entry that are set although the data book reserves them here. An address that is too wide or misaligned is not among them.
    /// </summary>
    /// <param name="geometry">The table's configuration.</param>
    /// <param name="level">Level of the table that holds the entry.</param>
    /// <param name="entry">An entry of kind <see cref="EntryKind.Table"/> or <see cref="EntryKind.Leaf"/>.</param>
    static virtual ulong ReservedBits(in PageTableGeometry geometry, int level, ulong entry) => 0;

    /// <summary>
    /// What almost every table entry looks like: (entry and mask) equals the returned value when it is a table of level - 1, reserves and limits
    /// nothing, and its address is not too wide. An entry that does not match can still be valid; it is then looked at field by field.
    /// </summary>
    /// <param name="geometry">The table's configuration.</param>
    /// <param name="level">Level of the table that holds the entry; matters where <see cref="SkipsLevels"/>.</param>
    /// <param name="mask">The bits that matter.</param>
    static abstract ulong PlainTable(in PageTableGeometry geometry, int level, out ulong mask);

    /// <summary>
    /// What almost every page of the smallest size looks like that allows an access without privilege: (entry and mask) equals the returned value
    /// when it is a leaf of one entry, reserves nothing, and its address is not too wide. A leaf that does not match can still be valid; it is then
    /// looked at field by field.
    /// </summary>
    /// <param name="geometry">The table's configuration.</param>
    /// <param name="access">Read, Write, Execute, or several of them.</param>
    /// <param name="mask">The bits that matter.</param>
    static abstract ulong PlainLeaf(in PageTableGeometry geometry, PageAttributes access, out ulong mask);

    /// <summary>Address of the table that a table entry points to.</summary>
    /// <param name="geometry">The table's configuration.</param>
    /// <param name="entry">A table entry.</param>
    static abstract ulong TableAddress(in PageTableGeometry geometry, ulong entry);

    /// <summary>Level of the table that a table entry points to; level - 1 unless the format can skip levels.</summary>
    /// <param name="geometry">The table's configuration.</param>
    /// <param name="level">Level of the table that holds the entry.</param>
    /// <param name="entry">A table entry.</param>
    static virtual int NextLevel(in PageTableGeometry geometry, int level, ulong entry) => level - 1;

    /// <summary>What a table entry still allows below it; all of Read, Write, Execute and User for formats without such bits.</summary>
    /// <param name="geometry">The table's configuration.</param>
    /// <param name="entry">A table entry.</param>
    static virtual PageAttributes TableLimits(in PageTableGeometry geometry, ulong entry) =>
        PageAttributes.Read | PageAttributes.Write | PageAttributes.Execute | PageAttributes.User;

    /// <summary>
    /// log2 of the size of the page that a leaf belongs to, contiguous runs included; -1 when the encoding is not valid at this level.
    /// </summary>
    /// <param name="geometry">The table's configuration.</param>
    /// <param name="level">Level of the table that holds the entry.</param>
    /// <param name="entry">A leaf.</param>
    static abstract int LeafSizeLg2(in PageTableGeometry geometry, int level, ulong entry);

    /// <summary>
    /// The address field of a leaf, as it stands there (size bits of an encoded size removed); misalignment is left in for the walker to see.
    /// For a run of entries that each hold their own address (Arm contiguous) it is this entry's address.
    /// </summary>
    /// <param name="geometry">The table's configuration.</param>
    /// <param name="level">Level of the table that holds the entry.</param>
    /// <param name="entry">A leaf.</param>
    static abstract ulong LeafAddress(in PageTableGeometry geometry, int level, ulong entry);

    /// <summary>The attributes of a leaf.</summary>
    /// <param name="geometry">The table's configuration.</param>
    /// <param name="level">Level of the table that holds the entry.</param>
    /// <param name="entry">A leaf.</param>
    static abstract PageAttributes Attributes(in PageTableGeometry geometry, int level, ulong entry);

    /// <summary>Makes the entry that points to a table.</summary>
    /// <param name="geometry">The table's configuration.</param>
    /// <param name="level">Level of the table that will hold the entry.</param>
    /// <param name="address">Address of the table of level - 1.</param>
    static abstract ulong MakeTable(in PageTableGeometry geometry, int level, ulong address);

    /// <summary>The attribute bits of a leaf.</summary>
    /// <param name="geometry">The table's configuration.</param>
    /// <param name="attributes">What the page allows.</param>
    /// <param name="bits">The bits, the same at every level.</param>
    /// <returns>False when the format cannot express the combination (for example neither Read nor Write).</returns>
    static abstract bool TryEncode(in PageTableGeometry geometry, PageAttributes attributes, out ulong bits);

    /// <summary>Makes the first entry of a leaf.</summary>
    /// <param name="geometry">The table's configuration.</param>
    /// <param name="level">Level of the table that will hold the entry.</param>
    /// <param name="sizeLg2">log2 of the page size, one of <see cref="LeafSizes"/>.</param>
    /// <param name="address">Output address, a multiple of the size.</param>
    /// <param name="bits">From <see cref="TryEncode"/>.</param>
    static abstract ulong MakeLeaf(in PageTableGeometry geometry, int level, int sizeLg2, ulong address, ulong bits);

    /// <summary>What to add to an entry to move its output address forward by <paramref name="bytes"/>.</summary>
    /// <param name="bytes">A page size.</param>
    static virtual ulong AddressStep(ulong bytes) => bytes;

    /// <summary>What to add from entry to entry inside one page that fills several entries: 0 when all are equal.</summary>
    /// <param name="itemBytes">Bytes that one entry of the level maps.</param>
    static virtual ulong ContiguousStep(ulong itemBytes) => 0;

    /// <summary>
    /// True when adding <see cref="AddressStep"/> is right between these two addresses; false where the address field is in two parts and they differ
    /// in the upper.
    /// </summary>
    /// <param name="geometry">The table's configuration.</param>
    /// <param name="first">First output address.</param>
    /// <param name="last">Last output address.</param>
    static virtual bool IsLinear(in PageTableGeometry geometry, ulong first, ulong last) => true;

    /// <summary>The entry with its accessed bit set.</summary>
    /// <param name="entry">A leaf, or a table entry if <see cref="AccessedInTables"/>.</param>
    static abstract ulong SetAccessed(ulong entry);

    /// <summary>The leaf as hardware leaves it after a write.</summary>
    /// <param name="entry">A leaf.</param>
    static abstract ulong SetDirty(ulong entry);

    /// <summary>The leaf with its dirty state cleared.</summary>
    /// <param name="entry">A leaf.</param>
    static abstract ulong ClearDirty(ulong entry);
}
