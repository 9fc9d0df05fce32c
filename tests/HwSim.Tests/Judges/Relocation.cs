using IommuFd.HwSim;
using IommuFd.HwSim.PageTables;

namespace HwSim.Tests.Judges;

/// <summary>
/// Moves the pointers between tables by an offset: tables of a first stage that stay where they are and are known by intermediate addresses.
/// </summary>
public sealed class Relocation<TFormat>(PhysicalMemory memory, PageTableGeometry geometry, ulong offset)
    where TFormat : struct, IPageTableFormat
{
    /// <summary>Adds the offset to every pointer.</summary>
    public void Apply(ulong root) => Move(root, geometry.TopLevel, RootBits, offset);

    /// <summary>Takes it away again, so that the builder knows its tables.</summary>
    public void Undo(ulong root) => Move(root, geometry.TopLevel, RootBits, 0 - offset);

    private int RootBits => geometry.InputBits - TFormat.ItemSizeLg2(geometry, geometry.TopLevel);

    private void Move(ulong table, int level, int indexBits, ulong by)
    {
        for (ulong i = 0; i < 1UL << indexBits; i++)
        {
            memory.Read64(table + (i * 8), out var entry);
            if (level == 0 || TFormat.KindOf(geometry, level, entry) != EntryKind.Table)
                continue;
            var next = TFormat.TableAddress(geometry, entry);
            // Physical before and after: the tables themselves stay where they are.
            Move(by == offset ? next : next + by, level - 1, TFormat.ItemSizeLg2(geometry, level) - TFormat.ItemSizeLg2(geometry, level - 1), by);
            memory.Write64(table + (i * 8), TFormat.MakeTable(geometry, level, next + by));
        }
    }
}
