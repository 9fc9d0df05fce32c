namespace IommuFd.HwSim.PageTables;

/// <summary>What the 32-bit and 64-bit RISC-V entries have in common (Privileged Architecture, chapter "Supervisor-Level ISA": bits 9:0).</summary>
internal static class RiscVEntry
{
    internal const ulong V = 1, R = 2, W = 4, X = 8, U = 16, G = 32, A = 64, D = 128;

    internal static EntryKind KindOf(int level, ulong entry)
    {
        if ((entry & V) == 0)
            return EntryKind.Empty;
        if ((entry & (R | W | X)) == 0)
            return level == 0 ? EntryKind.Reserved : EntryKind.Table;
        return (entry & (R | W)) == W ? EntryKind.Reserved : EntryKind.Leaf;
    }

    // R, W, X, U and G are bits 1 to 5, one above their places in PageAttributes; A and D are in their places.
    internal static PageAttributes Attributes(ulong entry) => (PageAttributes)((entry >> 1 & 0x1F) | (entry & (A | D)));

    // What can be written can be read; a page for instructions alone is not plain.
    internal static ulong PlainLeaf(PageAttributes access) =>
        V | R | U | ((access & PageAttributes.Write) != 0 ? W : 0) | ((access & PageAttributes.Execute) != 0 ? X : 0);

    // Writing without reading is reserved: a page for writes can be read.
    internal static bool TryEncode(PageAttributes attributes, out ulong bits)
    {
        if ((attributes & PageAttributes.Write) != 0)
            attributes |= PageAttributes.Read;
        bits = V | ((ulong)(attributes & (PageAttributes.Read | PageAttributes.Write | PageAttributes.Execute)) << 1)
            | ((attributes & PageAttributes.User) != 0 ? U : 0)
            | ((attributes & PageAttributes.Global) != 0 ? G : 0)
            | ((attributes & PageAttributes.Accessed) != 0 ? A : 0)
            | ((attributes & PageAttributes.Dirty) != 0 ? D : 0);
        return (attributes & (PageAttributes.Read | PageAttributes.Write | PageAttributes.Execute)) != 0;
    }
}
