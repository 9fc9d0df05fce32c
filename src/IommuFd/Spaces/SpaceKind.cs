namespace IommuFd;

/// <summary>Who owns the page table of an address space, and what its output addresses are (RFC v2 1.2, 1.3).</summary>
public enum SpaceKind
{
    /// <summary>No parent; the kernel's table; IOVAs lead to memory. Memory is pinned and counted here.</summary>
    Root,

    /// <summary>
    /// Software nesting: IOVAs lead to addresses of the parent, both levels are changed with map and unmap, devices walk one merged table.
    /// </summary>
    Child,

    /// <summary>Hardware nesting: the program owns the page table, whose output addresses the IOMMU translates again with the parent's.</summary>
    UserPageTable,

    /// <summary>Hardware nesting: the program owns a table of PASIDs, each with a page table of its own, all of them on top of the parent.</summary>
    UserPasidTable,
}
