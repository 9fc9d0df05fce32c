using System.Runtime.CompilerServices;

namespace IommuFd.HwSim.PageTables;

/// <summary>A page table and how it is walked: a root, and the <see cref="WalkPlan"/> that all tables of its configuration share.</summary>
public readonly record struct DirectTable
{
    private DirectTable(WalkPlan plan, ulong root)
    {
        Plan = plan;
        Root = root;
    }

    /// <summary>How it is walked; null where there is no table.</summary>
    public WalkPlan? Plan { get; }

    /// <summary>Address of the root table.</summary>
    public ulong Root { get; }

    /// <summary>Level of the root table.</summary>
    public int TopLevel => Plan!.Geometry.TopLevel;

    /// <summary>A table whose addresses are physical.</summary>
    /// <typeparam name="TFormat">The format.</typeparam>
    /// <param name="memory">Where the table is.</param>
    /// <param name="geometry">Its configuration.</param>
    /// <param name="root">Physical address of its root.</param>
    /// <param name="rules">What walks do about accessed and dirty bits.</param>
    public static DirectTable Of<TFormat>(PhysicalMemory memory, in PageTableGeometry geometry, ulong root, WalkAccess rules = WalkAccess.None)
        where TFormat : struct, IPageTableFormat
    {
        ArgumentNullException.ThrowIfNull(memory);
        var size = memory.ArenaBlock(out _, out var first);
        var rootBytes = 1UL << Math.Max(12, geometry.InputBits - TFormat.ItemSizeLg2(geometry, geometry.TopLevel) + TFormat.EntrySizeLg2);
        var place = root - first < size && rootBytes <= size - (root - first) && root % 8 == 0 ? TablePlace.Arena : TablePlace.Elsewhere;
        return new DirectTable(memory.PlanOf<TFormat>(geometry, rules, place), root);
    }

    /// <summary>A table whose addresses, its own included, are those of another stage.</summary>
    /// <typeparam name="TFormat">The format.</typeparam>
    /// <param name="memory">Physical memory.</param>
    /// <param name="geometry">Its configuration.</param>
    /// <param name="root">Address of its root.</param>
    /// <param name="rules">What walks do about accessed and dirty bits.</param>
    public static DirectTable Nested<TFormat>(PhysicalMemory memory, in PageTableGeometry geometry, ulong root, WalkAccess rules = WalkAccess.None)
        where TFormat : struct, IPageTableFormat
    {
        ArgumentNullException.ThrowIfNull(memory);
        return new DirectTable(memory.PlanOf<TFormat>(geometry, rules, TablePlace.Nested), root);
    }

    /// <summary>Translates an address.</summary>
    /// <typeparam name="TFormat">The format that the table was made for.</typeparam>
    /// <param name="address">Input address.</param>
    /// <param name="access">What the walk is for. It is quick when it has the table's rules and no others.</param>
    /// <param name="result">The outcome; every field is set as far as the walk came.</param>
    /// <returns>True when there is a translation that allows the access.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool Walk<TFormat>(ulong address, WalkAccess access, out WalkResult result)
        where TFormat : struct, IPageTableFormat =>
        TableWalk.Walk<TFormat>(Plan!, Root - Plan!.ArenaBase, address, access, access ^ Plan.Rules, out result);
}
