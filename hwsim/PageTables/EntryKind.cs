namespace IommuFd.HwSim.PageTables;

/// <summary>What a page-table entry is, before its fields are checked.</summary>
public enum EntryKind
{
    /// <summary>Not present: the walk ends in a fault.</summary>
    Empty,

    /// <summary>Points to a table of a lower level.</summary>
    Table,

    /// <summary>Maps a page.</summary>
    Leaf,

    /// <summary>Present, but of a form that the data book reserves.</summary>
    Reserved,
}
