namespace HwSim.Tests.Kernel.Rfc;

/// <summary>
/// A guest's four-level x86-64 page table, in memory that a root maps from guest address 0 on: the tables at its end, what they map before them.
/// </summary>
internal sealed unsafe class GuestTable
{
    private const ulong Page = RfcMachine.Page, Flags = 0x67; // present, writable, user, accessed, dirty
    private readonly ulong _memory, _tables;
    private ulong _next;

    /// <summary>A table in the upper half of some memory.</summary>
    /// <param name="memory">Address in the process.</param>
    /// <param name="size">Bytes.</param>
    public GuestTable(ulong memory, ulong size)
    {
        _memory = memory;
        _tables = size / 2;
        _next = _tables + Page;
    }

    /// <summary>Guest physical address of the root.</summary>
    public ulong Root => _tables;

    /// <summary>Maps one page; a guest address of null takes the mapping away.</summary>
    public void Map(ulong address, ulong? guest)
    {
        ulong table = _tables;
        for (int level = 3; level > 0; level--)
        {
            ulong* entry = Entry(table, address, level);
            if (*entry == 0)
            {
                *entry = _next | Flags;
                _next += Page;
            }

            table = *entry & ~0xfffUL;
        }

        *Entry(table, address, 0) = guest is { } to ? to | Flags : 0;
    }

    private ulong* Entry(ulong table, ulong address, int level) => (ulong*)(_memory + table + (((address >> (12 + (9 * level))) & 511) * 8));
}
