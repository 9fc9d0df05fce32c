namespace IommuFd.HwSim.PageTables;

/// <summary>The outcome of a walk: a translation, or the entry at which it ended.</summary>
public struct WalkResult
{
    /// <summary>None when there is a translation.</summary>
    public WalkFault Fault;

    /// <summary>Level of the last entry that was looked at.</summary>
    public int Level;

    /// <summary>log2 of the size of the page, contiguous runs included.</summary>
    public int SizeLg2;

    /// <summary>What the leaf and all tables above it allow, and the leaf's other attributes.</summary>
    public PageAttributes Attributes;

    /// <summary>Output address of the input address (not only of its page).</summary>
    public ulong Output;

    /// <summary>The last entry that was looked at.</summary>
    public ulong Entry;

    /// <summary>Address of that entry, in the space that the tables are in.</summary>
    public ulong EntryAddress;

    /// <summary>True when there is a translation.</summary>
    public readonly bool Ok => Fault == WalkFault.None;
}
