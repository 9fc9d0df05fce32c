using System.Runtime.CompilerServices;

namespace IommuFd.HwSim.PageTables;

/// <summary>Where the tables of a walk are.</summary>
internal enum TablePlace : byte
{
    /// <summary>The root is in the arena.</summary>
    Arena,

    /// <summary>The root is in other memory.</summary>
    Elsewhere,

    /// <summary>Their addresses are those of another stage.</summary>
    Nested,
}

/// <summary>
/// Everything that can be worked out before a walk: how plain entries look, and where the host has the arena. Most walks meet plain entries only, and
/// end after one comparison per level; <see cref="TableWalk"/> makes every other, field by field, with the same outcome.
/// </summary>
/// <remarks>One object for all tables of a configuration, kept by the memory that they are in.</remarks>
public sealed class WalkPlan
{
    // A leaf is plain for a kind of access (Read, Write, Execute or several) when (entry ^ Word) and Mask is 0.
    private struct Pattern
    {
        public ulong Word;
        public ulong Mask;
    }

    [InlineArray(8)]
    private struct Patterns
    {
        private Pattern _first;
    }

    private readonly Type _format;
    private readonly TablePlace _place;
    private readonly PageTableGeometry _geometry;
    private readonly ulong _outside;
    private readonly ulong _signBias;
    private readonly ulong _inputMask;
    private Patterns _leaves;

    private WalkPlan(PhysicalMemory memory, in PageTableGeometry geometry, WalkAccess rules, Type format, TablePlace place, int topLg2)
    {
        Memory = memory;
        _geometry = geometry;
        _format = format;
        _place = place;
        Rules = rules;
        TopLg2 = topLg2;
        _inputMask = geometry.InputMask;
        _outside = ~_inputMask;
        _signBias = geometry.Has(PageTableFeatures.SignExtend) && geometry.InputBits < 64 ? 1UL << (geometry.InputBits - 1) : 0;
    }

    /// <summary>The tables' configuration.</summary>
    public PageTableGeometry Geometry => _geometry;

    /// <summary>What walks do about accessed and dirty bits.</summary>
    public WalkAccess Rules { get; }

    /// <summary>False: every walk is made field by field.</summary>
    internal bool HasPlain { get; private set; }

    /// <summary>
    /// True: the root is in the arena, and the table has three or four levels of 512 entries for pages of 4 KiB; the root may have more entries.
    /// </summary>
    internal bool IsUsual { get; private set; }

    internal PhysicalMemory Memory { get; }

    internal ref readonly PageTableGeometry GeometryRef => ref _geometry;

    /// <summary>An entry is a plain table of the top level when (entry ^ <see cref="Table"/>) and <see cref="TableMask"/> is 0.</summary>
    internal ulong TableMask { get; private set; }

    internal ulong Table { get; private set; }

    /// <summary>The same for the level above the leaves, where entries name the level.</summary>
    internal ulong LowestTable { get; private set; }

    /// <summary>log2 of what an entry of the root maps.</summary>
    internal int TopLg2 { get; }

    /// <summary>Host pointer to the arena.</summary>
    internal nint Host { get; private set; }

    /// <summary>Physical address of the arena, from which plain tables are counted; 0 for nested tables.</summary>
    internal ulong ArenaBase { get; private set; }

    internal static WalkPlan Make<TFormat>(PhysicalMemory memory, in PageTableGeometry geometry, WalkAccess rules, TablePlace place)
        where TFormat : struct, IPageTableFormat
    {
        const WalkAccess AccessedRules = WalkAccess.UpdateAccessedDirty | WalkAccess.FaultOnClearAccessed;
        const WalkAccess DirtyRules = WalkAccess.UpdateAccessedDirty | WalkAccess.FaultOnClearDirty;
        var plan = new WalkPlan(memory, geometry, rules, typeof(TFormat), place, TFormat.ItemSizeLg2(geometry, geometry.TopLevel));

        // A format without a bit of its own for "dirty" has no plain leaf under a rule about it.
        plan.HasPlain = place != TablePlace.Elsewhere
            && ((rules & WalkAccess.FaultOnClearDirty) == 0 || (TFormat.Attributes(geometry, 0, TFormat.SetDirty(0)) & PageAttributes.Dirty) != 0);
        plan.Table = TFormat.PlainTable(geometry, geometry.TopLevel, out var mask);
        plan.TableMask = mask;
        if (TFormat.AccessedInTables && (rules & WalkAccess.UpdateAccessedDirty) != 0)
        {
            plan.Table |= TFormat.SetAccessed(0);
            plan.TableMask |= TFormat.SetAccessed(0);
        }

        for (var kind = 1; kind < 8; kind++)
        {
            var leaf = TFormat.PlainLeaf(geometry, (PageAttributes)kind, out mask);
            // With a bit clear that a rule is about, a leaf is not plain.
            var set = ((rules & AccessedRules) != 0 ? TFormat.SetAccessed(0) : 0)
                | ((kind & (int)WalkAccess.Write) != 0 && (rules & DirtyRules) != 0 ? TFormat.SetDirty(0) : 0);
            plan._leaves[kind] = new Pattern { Word = leaf | set, Mask = mask | set };
        }

        if (place == TablePlace.Arena)
            plan.SetArena<TFormat>();
        return plan;
    }

    internal bool IsFor<TFormat>(in PageTableGeometry geometry, WalkAccess rules, TablePlace place)
        where TFormat : struct, IPageTableFormat => Rules == rules && _place == place && _format == typeof(TFormat) && _geometry == geometry;

    /// <summary>False: the walk must be made field by field from the root.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal bool CanBePlain<TFormat>(ulong address, WalkAccess kind)
        where TFormat : struct, IPageTableFormat => (uint)kind - 1 < 7
            && ((TFormat.HasSignedAddresses ? address + _signBias : address) & _outside) == 0;

    /// <summary>Distance of the root's entry for an input address from the root.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal ulong FirstIndex(ulong address, int entrySizeLg2) => (address & _inputMask) >> TopLg2 << entrySizeLg2;

    /// <summary>True for a plain leaf that allows the access, with all bits set that a rule is about.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal bool IsPlainLeaf(ulong entry, WalkAccess kind)
    {
        ref var pattern = ref Unsafe.Add(ref Unsafe.As<Patterns, Pattern>(ref _leaves), (int)kind & 7);
        return ((entry ^ pattern.Word) & pattern.Mask) == 0;
    }

    /// <summary>The level whose entries map 2^<paramref name="itemLg2"/> bytes.</summary>
    internal int LevelOf<TFormat>(int itemLg2)
        where TFormat : struct, IPageTableFormat
    {
        var level = _geometry.TopLevel;
        while (TFormat.ItemSizeLg2(_geometry, level) != itemLg2)
            level--;
        return level;
    }

    // A plain table lies in the arena's block: the address bits above it are compared with the rest. What the format makes of an address tells where
    // they are.
    private void SetArena<TFormat>()
        where TFormat : struct, IPageTableFormat
    {
        var size = Memory.ArenaBlock(out var host, out var first);
        var outputs = (1UL << _geometry.OutputBits) - 1;
        if (first + size - 1 > outputs)
        {
            HasPlain = false;
            return;
        }

        var empty = TFormat.MakeTable(_geometry, 1, 0);
        TableMask |= TFormat.MakeTable(_geometry, 1, outputs & ~(size - 1)) ^ empty;
        Table |= TFormat.MakeTable(_geometry, 1, first) ^ empty;
        Host = host;
        ArenaBase = first;
        LowestTable = Table - TFormat.PlainTable(_geometry, _geometry.TopLevel, out _) + TFormat.PlainTable(_geometry, 1, out _);
        IsUsual = HasPlain && TFormat.EntrySizeLg2 == 3 && TFormat.ItemSizeLg2(_geometry, 0) == 12 && TFormat.ItemSizeLg2(_geometry, 1) == 21
            && (TopLg2 == 30 || (TopLg2 == 39 && _geometry.InputBits <= 48));
    }
}
