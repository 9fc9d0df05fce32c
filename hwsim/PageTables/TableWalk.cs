using System.Runtime.CompilerServices;

namespace IommuFd.HwSim.PageTables;

/// <summary>The walk itself: one loop for all formats. It ends after at most one step per level, whatever the tables hold.</summary>
// SAFETY: entries are read and written only through pointers that the reader checked for their whole length.
public static unsafe class TableWalk
{
    private const PageAttributes AllAccess = PageAttributes.Read | PageAttributes.Write | PageAttributes.Execute | PageAttributes.User;

    /// <summary>Translates an address.</summary>
    /// <typeparam name="TFormat">The format.</typeparam>
    /// <typeparam name="TReader">Where the tables are.</typeparam>
    /// <param name="geometry">The table's configuration.</param>
    /// <param name="root">Address of the root plan.</param>
    /// <param name="reader">Where the tables are.</param>
    /// <param name="address">Input address.</param>
    /// <param name="access">What the walk is for.</param>
    /// <param name="result">The outcome; every field is set as far as the walk came.</param>
    /// <returns>True when there is a translation that allows the access.</returns>
    public static bool Walk<TFormat, TReader>(
        in PageTableGeometry geometry, ulong root, ref TReader reader, ulong address, WalkAccess access, out WalkResult result)
        where TFormat : struct, IPageTableFormat
        where TReader : struct, ITableReader, allows ref struct
    {
        if (!geometry.Contains(address))
            return Stop(out result, WalkFault.AddressTooWide, geometry.TopLevel, 0, 0);
        var index = (address & geometry.InputMask) >> TFormat.ItemSizeLg2(geometry, geometry.TopLevel);
        return WalkFrom<TFormat, TReader>(geometry, geometry.TopLevel, root + (index << TFormat.EntrySizeLg2), ref reader,
            address, access, out result);
    }

    /// <summary>Translates an address through tables that another stage maps, quickly where all entries on the way are plain.</summary>
    /// <typeparam name="TFormat">The format that the table was made for.</typeparam>
    /// <typeparam name="TReader">Where the tables are.</typeparam>
    /// <param name="plan">How the table is walked.</param>
    /// <param name="root">Address of the root plan.</param>
    /// <param name="reader">Where the tables are.</param>
    /// <param name="address">Input address.</param>
    /// <param name="access">What the walk is for.</param>
    /// <param name="result">The outcome; every field is set as far as the walk came.</param>
    /// <returns>True when there is a translation that allows the access.</returns>
    internal static bool Walk<TFormat, TReader>(WalkPlan plan, ulong root, ref TReader reader, ulong address,
        WalkAccess access, out WalkResult result)
        where TFormat : struct, IPageTableFormat
        where TReader : struct, ITableReader, allows ref struct
    {
        ref readonly var geometry = ref plan.GeometryRef;
        var kind = access ^ plan.Rules;
        if (!plan.HasPlain || !plan.CanBePlain<TFormat>(address, kind))
            return Walk<TFormat, TReader>(geometry, root, ref reader, address, access, out result);
        var leafLg2 = TFormat.ItemSizeLg2(geometry, 0);
        var levelBits = LevelBits<TFormat>(geometry);
        var itemLg2 = plan.TopLg2;
        var plain = plan.Table;
        var at = root - plan.ArenaBase + plan.FirstIndex(address, TFormat.EntrySizeLg2);
        while (true)
        {
            var p = reader.Plain(at);
            if (p == null)
                return Walk<TFormat, TReader>(geometry, root, ref reader, address, access, out result);
            var entry = TFormat.EntrySizeLg2 == 3 ? *(ulong*)p : *(uint*)p;
            if (itemLg2 == leafLg2)
            {
                if (PlainLeaf<TFormat>(plan, leafLg2, entry, at, address, kind, out result))
                    return true;
                break;
            }

            if (((entry ^ plain) & plan.TableMask) != 0)
                break;
            if (TFormat.SkipsLevels)
                plain -= LevelStep<TFormat>(geometry);
            itemLg2 -= levelBits;
            at = TFormat.TableAddress(geometry, entry) + (((address >> itemLg2) & ((1UL << levelBits) - 1)) << TFormat.EntrySizeLg2);
        }

        // An entry is not plain: from here on field by field. Everything above it was plain, so nothing is limited yet.
        return WalkFrom<TFormat, TReader>(geometry, plan.LevelOf<TFormat>(itemLg2), at, ref reader, address, access, out result);
    }

    // The same loop once more, for tables in the arena: this one keeps nothing on the stack.
    private static bool LoopWalk<TFormat>(WalkPlan plan, ulong root, ulong address, WalkAccess access, WalkAccess kind, out WalkResult result)
        where TFormat : struct, IPageTableFormat
    {
        if (!plan.HasPlain || !plan.CanBePlain<TFormat>(address, kind))
            return WalkFrom<TFormat>(plan, root, address, access, FromRoot, out result);
        ref readonly var geometry = ref plan.GeometryRef;
        var leafLg2 = TFormat.ItemSizeLg2(geometry, 0);
        var levelBits = LevelBits<TFormat>(geometry);
        var host = (byte*)plan.Host;
        var plain = plan.Table;
        var at = root - plan.ArenaBase + plan.FirstIndex(address, TFormat.EntrySizeLg2);
        for (var itemLg2 = plan.TopLg2; itemLg2 != leafLg2; itemLg2 -= levelBits)
        {
            if (!Below<TFormat>(geometry, host, plan.TableMask, plain, address, itemLg2 - levelBits, ref at))
                return WalkFrom<TFormat>(plan, root, address, access, From(itemLg2, at), out result);
            if (TFormat.SkipsLevels)
                plain -= LevelStep<TFormat>(geometry);
        }

        return PlainLeaf<TFormat>(plan, leafLg2, Load<TFormat>(host, at), plan.ArenaBase + at, address, kind, out result)
            || WalkFrom<TFormat>(plan, root, address, access, From(leafLg2, at), out result);
    }

    /// <summary>
    /// Translates an address, quickly where all entries on the way are plain. The usual three or four levels of 512 entries are written out: a third
    /// less to do.
    /// </summary>
    /// <typeparam name="TFormat">The format that the table was made for.</typeparam>
    /// <param name="plan">How the table is walked.</param>
    /// <param name="first">Distance of the root from the start of the arena.</param>
    /// <param name="address">Input address.</param>
    /// <param name="access">What the walk is for.</param>
    /// <param name="kind">The same without the table's rules, if it has exactly those.</param>
    /// <param name="result">The outcome; every field is set as far as the walk came.</param>
    /// <returns>True when there is a translation that allows the access.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    [SkipLocalsInit]
    internal static bool Walk<TFormat>(WalkPlan plan, ulong first, ulong address, WalkAccess access, WalkAccess kind, out WalkResult result)
        where TFormat : struct, IPageTableFormat
    {
        var from = FromRoot;
        if (plan.IsUsual && plan.CanBePlain<TFormat>(address, kind))
        {
            ref readonly var geometry = ref plan.GeometryRef;
            var host = (byte*)plan.Host;
            var mask = plan.TableMask;
            var plain = plan.LowestTable;
            var step = TFormat.SkipsLevels ? LevelStep<TFormat>(geometry) : 0;
            var at = first;
            if (!UsualRoot<TFormat>(plan, host, mask, plain + (2 * step), address, ref at))
                from = From(39, at);
            else if (!UsualBelow<TFormat>(host, mask, plain + step, address, 21, ref at))
                from = From(30, at);
            else if (!UsualBelow<TFormat>(host, mask, plain, address, 12, ref at))
                from = From(21, at);
            else if (PlainLeaf<TFormat>(plan, 12, *(ulong*)(host + at), plan.ArenaBase + at, address, kind, out result))
                return true;
            else
                from = From(12, at);
        }

        // Into a variable of its own: the address of the result is not taken, and what the caller does not ask for need not be stored.
        var ok = Rest<TFormat>(plan, first, address, access, from, out var walked);
        result = walked;
        return ok;
    }

    // To the entry for 1 GiB: the root's, or that of the table below it.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool UsualRoot<TFormat>(WalkPlan plan, byte* host, ulong mask, ulong plain, ulong address, ref ulong at)
        where TFormat : struct, IPageTableFormat
    {
        if (plan.TopLg2 == 39)
        {
            at += address >> 36 & 0xFF8;
            return UsualBelow<TFormat>(host, mask, plain, address, 30, ref at);
        }

        at += plan.FirstIndex(address, 3);
        return true;
    }

    // As Below, for 512 entries of 8 bytes.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool UsualBelow<TFormat>(byte* host, ulong mask, ulong plain, ulong address, int itemLg2, ref ulong at)
        where TFormat : struct, IPageTableFormat
    {
        var entry = *(ulong*)(host + at) ^ plain;
        if ((entry & mask) != 0)
            return false;
        at = ((address >> (itemLg2 - 3)) & 0xFF8) + ((entry << TFormat.AddressShift) & 0xFFFF_F000);
        return true;
    }

    // To the entry of the next lower table, or false when this entry is not a plain plan. Tables are counted from the arena: what their addresses
    // have in common with its own is in the word that is compared, and the rest has 32 bits.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool Below<TFormat>(in PageTableGeometry geometry, byte* host, ulong mask, ulong plain, ulong address, int itemLg2, ref ulong at)
        where TFormat : struct, IPageTableFormat
    {
        var entry = Load<TFormat>(host, at) ^ plain;
        if ((entry & mask) != 0)
            return false;
        at = ((address >> (itemLg2 - TFormat.EntrySizeLg2)) & (((1UL << LevelBits<TFormat>(geometry)) - 1) << TFormat.EntrySizeLg2))
            + (TFormat.TableAddress(geometry, entry) & uint.MaxValue);
        return true;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong Load<TFormat>(byte* host, ulong at)
        where TFormat : struct, IPageTableFormat => TFormat.EntrySizeLg2 == 3 ? *(ulong*)(host + at) : *(uint*)(host + at);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int LevelBits<TFormat>(in PageTableGeometry geometry)
        where TFormat : struct, IPageTableFormat =>
        TFormat.LevelBits != 0 ? TFormat.LevelBits : TFormat.ItemSizeLg2(geometry, 1) - TFormat.ItemSizeLg2(geometry, 0);

    // Where entries name the level below: how a plain table of one level differs from that of the next lower.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong LevelStep<TFormat>(in PageTableGeometry geometry)
        where TFormat : struct, IPageTableFormat => TFormat.PlainTable(geometry, 2, out _) - TFormat.PlainTable(geometry, 1, out _);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool PlainLeaf<TFormat>(WalkPlan plan, int leafLg2, ulong entry, ulong at, ulong address, WalkAccess kind, out WalkResult result)
        where TFormat : struct, IPageTableFormat
    {
        Unsafe.SkipInit(out result);
        if (!plan.IsPlainLeaf(entry, kind))
            return false;
        ref readonly var geometry = ref plan.GeometryRef;
        result.Fault = WalkFault.None;
        result.Level = 0;
        result.SizeLg2 = leafLg2;
        result.Attributes = TFormat.Attributes(geometry, 0, entry);
        result.Output = TFormat.LeafAddress(geometry, 0, entry) | (address & ((1UL << leafLg2) - 1));
        result.Entry = entry;
        result.EntryAddress = at;
        return true;
    }

    private const ulong FromRoot = ulong.MaxValue;

    // An entry of the arena by its distance from the start, and the log2 of what it maps.
    private static ulong From(int itemLg2, ulong at) => ((ulong)itemLg2 << 32) | at;

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static bool Rest<TFormat>(WalkPlan plan, ulong first, ulong address, WalkAccess access, ulong from, out WalkResult result)
        where TFormat : struct, IPageTableFormat => from == FromRoot
        ? LoopWalk<TFormat>(plan, first + plan.ArenaBase, address, access, access ^ plan.Rules, out result)
        : WalkFrom<TFormat>(plan, 0, address, access, from, out result);

    // From the root, or from an entry that is not plain.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static bool WalkFrom<TFormat>(WalkPlan plan, ulong root, ulong address, WalkAccess access, ulong from, out WalkResult result)
        where TFormat : struct, IPageTableFormat
    {
        var reader = new DirectTableReader(plan.Memory);
        return from == FromRoot
            ? Walk<TFormat, DirectTableReader>(plan.GeometryRef, root, ref reader, address, access, out result)
            : WalkFrom<TFormat, DirectTableReader>(
                plan.GeometryRef, plan.LevelOf<TFormat>((int)(from >> 32)), plan.ArenaBase + (uint)from, ref reader, address, access, out result);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static bool WalkFrom<TFormat, TReader>(
        in PageTableGeometry geometry, int level, ulong entryAddress, ref TReader reader, ulong address, WalkAccess access, out WalkResult result)
        where TFormat : struct, IPageTableFormat
        where TReader : struct, ITableReader, allows ref struct
    {
        var input = address & geometry.InputMask;
        var limits = AllAccess;
        var itemLg2 = TFormat.ItemSizeLg2(geometry, level);
        var index = input >> itemLg2;
        if (level != geometry.TopLevel)
            index &= (1UL << (TFormat.ItemSizeLg2(geometry, level + 1) - itemLg2)) - 1;
        while (true)
        {
            var fault = WalkFault.None;
            var p = reader.Entry(entryAddress, 1 << TFormat.EntrySizeLg2, ref fault);
            if (p == null)
                return Stop(out result, fault, level, entryAddress, 0);
            var entry = TFormat.EntrySizeLg2 == 3 ? Volatile.Read(ref *(ulong*)p) : Volatile.Read(ref *(uint*)p);
            var kind = TFormat.KindOf(geometry, level, entry);
            reader.Visit(level, (int)index, entryAddress, entry, kind);
            if (kind == EntryKind.Leaf)
                return Leaf<TFormat, TReader>(geometry, p, level, entryAddress, entry, input, itemLg2, limits, access, ref reader, out result);
            if (kind != EntryKind.Table)
                return Stop(out result, kind == EntryKind.Empty ? WalkFault.NotPresent : WalkFault.ReservedBits, level, entryAddress, entry);
            if (TFormat.ReservedBits(geometry, level, entry) != 0)
                return Stop(out result, WalkFault.ReservedBits, level, entryAddress, entry);
            var next = TFormat.NextLevel(geometry, level, entry);
            if ((uint)next >= (uint)level)
                return Stop(out result, WalkFault.ReservedBits, level, entryAddress, entry);
            // A table covers what one entry of the level above it maps; bits between that and this entry were skipped and must be zero.
            var coversLg2 = TFormat.ItemSizeLg2(geometry, next + 1);
            if (coversLg2 != itemLg2 && ((input & ((1UL << itemLg2) - 1)) >> coversLg2) != 0)
                return Stop(out result, WalkFault.ReservedBits, level, entryAddress, entry);
            var below = TFormat.TableAddress(geometry, entry);
            if (below >> geometry.OutputBits != 0)
                return Stop(out result, WalkFault.OutputTooWide, level, entryAddress, entry);
            limits &= TFormat.TableLimits(geometry, entry);
            if (TFormat.AccessedInTables && (access & WalkAccess.UpdateAccessedDirty) != 0
                && !Update<TFormat, TReader>(p, entryAddress, entry, false, ref reader, ref fault))
                return Stop(out result, fault, level, entryAddress, entry);
            itemLg2 = TFormat.ItemSizeLg2(geometry, next);
            index = (input >> itemLg2) & ((1UL << (coversLg2 - itemLg2)) - 1);
            entryAddress = below + (index << TFormat.EntrySizeLg2);
            level = next;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool Leaf<TFormat, TReader>(
        in PageTableGeometry geometry, byte* p, int level, ulong entryAddress, ulong entry, ulong input, int itemLg2, PageAttributes limits,
        WalkAccess access, ref TReader reader, out WalkResult result)
        where TFormat : struct, IPageTableFormat
        where TReader : struct, ITableReader, allows ref struct
    {
        if (TFormat.ReservedBits(geometry, level, entry) != 0)
            return Stop(out result, WalkFault.ReservedBits, level, entryAddress, entry);
        var sizeLg2 = TFormat.LeafSizeLg2(geometry, level, entry);
        if (sizeLg2 < itemLg2)
            return Stop(out result, WalkFault.ReservedBits, level, entryAddress, entry);
        var output = TFormat.LeafAddress(geometry, level, entry);
        // Where each entry of a run holds its own address, that address is aligned to the entry's size only.
        var alignLg2 = TFormat.ContiguousStep(1) != 0 ? itemLg2 : sizeLg2;
        var inPage = (1UL << alignLg2) - 1;
        if ((output & inPage) != 0)
            return Stop(out result, WalkFault.Misaligned, level, entryAddress, entry);
        if (output >> geometry.OutputBits != 0)
            return Stop(out result, WalkFault.OutputTooWide, level, entryAddress, entry);
        var attributes = TFormat.Attributes(geometry, level, entry) & (limits | ~AllAccess);
        Unsafe.SkipInit(out result);
        result.Fault = WalkFault.None;
        result.Level = level;
        result.SizeLg2 = sizeLg2;
        result.Attributes = attributes;
        result.Output = output | (input & inPage);
        result.Entry = entry;
        result.EntryAddress = entryAddress;

        // All in one test for the usual case: nothing is missing, no rule about privilege, accessed or dirty bits applies.
        const WalkAccess rules = WalkAccess.Privileged | WalkAccess.FaultOnClearAccessed | WalkAccess.FaultOnClearDirty
            | WalkAccess.UpdateAccessedDirty;
        if ((((uint)access & ~(uint)attributes & 7) | (uint)(access & rules) | (~(uint)attributes & (uint)PageAttributes.User)) != 0)
        {
            result.Fault = Judge(attributes, access);
            if (result.Fault != WalkFault.None)
                return false;
        }

        return (access & WalkAccess.UpdateAccessedDirty) == 0
            || Update<TFormat, TReader>(p, entryAddress, entry, (access & WalkAccess.Write) != 0, ref reader, ref result.Fault);
    }

    private static WalkFault Judge(PageAttributes attributes, WalkAccess access)
    {
        if ((access & WalkAccess.FaultOnClearAccessed) != 0 && (attributes & PageAttributes.Accessed) == 0)
            return WalkFault.AccessFlag;
        // Privilege is judged before permissions, as VT-d's fault reasons are ordered (81h before 82h, 85h, 86h); the other books have one code for
        // both.
        if ((attributes & PageAttributes.User) == 0 ? (access & WalkAccess.Privileged) == 0 && access != WalkAccess.None
            : (access & (WalkAccess.Privileged | WalkAccess.PrivilegedNotUser)) == (WalkAccess.Privileged | WalkAccess.PrivilegedNotUser))
            return WalkFault.Privilege;
        var missing = (uint)access & ~(uint)attributes & 7;
        if (missing != 0)
            return (missing & 4) != 0 ? WalkFault.Execute : (missing & 2) != 0 ? WalkFault.Write : WalkFault.Read;
        const WalkAccess dirtyRule = WalkAccess.FaultOnClearDirty | WalkAccess.Write;
        return (access & dirtyRule) == dirtyRule && (attributes & PageAttributes.Dirty) == 0 ? WalkFault.AccessFlag : WalkFault.None;
    }

    // Another walker may set its bits at the same moment: then ours are added to those. When software changed the entry, it is no longer ours to
    // mark.
    private static bool Update<TFormat, TReader>(byte* p, ulong entryAddress, ulong old, bool dirty, ref TReader reader, ref WalkFault fault)
        where TFormat : struct, IPageTableFormat
        where TReader : struct, ITableReader, allows ref struct
    {
        while (true)
        {
            var updated = dirty ? TFormat.SetDirty(old) : TFormat.SetAccessed(old);
            if (old == updated)
                return true;
            if (!reader.CanWrite(entryAddress, ref fault))
                return false;
            var found = TFormat.EntrySizeLg2 == 3
                ? Interlocked.CompareExchange(ref *(ulong*)p, updated, old)
                : Interlocked.CompareExchange(ref *(uint*)p, (uint)updated, (uint)old);
            if (found == old || TFormat.SetDirty(found) != TFormat.SetDirty(old))
                return true;
            old = found;
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static bool Stop(out WalkResult result, WalkFault fault, int level, ulong entryAddress, ulong entry)
    {
        result = new WalkResult { Fault = fault, Level = level, EntryAddress = entryAddress, Entry = entry };
        return false;
    }
}
