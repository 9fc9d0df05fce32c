using IommuFd.HwSim;
using IommuFd.HwSim.PageTables;

namespace HwSim.Tests.Judges.RiscV;

/// <summary>One stage: a table, random mappings in it, and what a fault in it is called.</summary>
public sealed class RiscVStage<TFormat> : IDisposable
    where TFormat : struct, IPageTableFormat
{
    private const PageAttributes Clean = PageAttributes.User | PageAttributes.Read;
    private static readonly PageAttributes[] Permissions =
    [
        Clean | PageAttributes.Accessed, Clean | PageAttributes.Accessed | PageAttributes.Write | PageAttributes.Dirty,
        Clean | PageAttributes.Write | PageAttributes.Accessed, Clean | PageAttributes.Execute | PageAttributes.Accessed | PageAttributes.Global,
        Clean, PageAttributes.User | PageAttributes.Execute | PageAttributes.Accessed,
    ];

    private readonly bool _second;

    public RiscVStage(PhysicalMemory memory, PageTableGeometry geometry, Random random, bool second, (ulong First, ulong Last)[]? outputs = null)
    {
        Table = new PageTable<TFormat>(memory, geometry);
        _second = second;
        Mappings = new RandomMappings(random);
        // Outputs are multiples of 4 MiB, all the way up to the width of a physical address.
        Mappings.Fill(Table, 60, outputs ?? [(0, (1UL << geometry.OutputBits) - 1)], Permissions, outputs == null ? 22 : 0);
    }

    public PageTable<TFormat> Table { get; }

    public RandomMappings Mappings { get; }

    /// <summary>The rules of a unit without AMO_HWAD: software keeps the accessed and dirty bits.</summary>
    public static WalkAccess Access(bool write) =>
        WalkAccess.Read | (write ? WalkAccess.Write : 0) | WalkAccess.FaultOnClearAccessed | WalkAccess.FaultOnClearDirty;

    /// <summary>The cause of a fault (IOMMU specification, table "Fault record CAUSE field encodings").</summary>
    public uint Cause(WalkFault fault, bool write) => fault switch
    {
        WalkFault.None => 0,
        WalkFault.TableOutsideMemory => write ? 7U : 5U,
        _ => (_second ? 21U : 13U) + (write ? 2U : 0),
    };

    public void Dispose() => Table.Dispose();
}
