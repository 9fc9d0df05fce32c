using IommuFd.HwSim;
using IommuFd.HwSim.PageTables;

namespace HwSim.Tests.Judges;

/// <summary>Moves the pointers between tables by an offset: tables of a first stage that stay where they are and are known by intermediate addresses.</summary>
public sealed class Relocation<TFormat>(PhysicalMemory memory, PageTableGeometry geometry, ulong offset)
    where TFormat : struct, IPageTableFormat
{
    public void Apply(ulong root) => Apply(root, geometry.TopLevel, geometry.InputBits - TFormat.ItemSizeLg2(geometry, geometry.TopLevel));

    private void Apply(ulong table, int level, int indexBits)
    {
        for (ulong i = 0; i < 1UL << indexBits; i++)
        {
            memory.Read64(table + (i * 8), out var entry);
            if (level == 0 || TFormat.KindOf(geometry, level, entry) != EntryKind.Table)
                continue;
            var next = TFormat.TableAddress(geometry, entry);
            Apply(next, level - 1, TFormat.ItemSizeLg2(geometry, level) - TFormat.ItemSizeLg2(geometry, level - 1));
            memory.Write64(table + (i * 8), TFormat.MakeTable(geometry, level, next + offset));
        }
    }
}
