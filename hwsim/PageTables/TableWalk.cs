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
    /// <param name="root">Address of the root table.</param>
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
        // The usual walk: plain tables in directly readable memory, then a plain page of the smallest size that allows the access. Everything else is looked
        // at field by field, from the root.
        var size = reader.Direct(out var host, out var first);
        var level = geometry.TopLevel;
        if (size != 0 && (access & ~FastAccess) == 0 && (access & (WalkAccess.Read | WalkAccess.Write)) != 0 && !TFormat.SkipsLevels && geometry.Contains(address))
        {
            var input = address & geometry.InputMask;
            // Below the root every level resolves the same number of bits, in every format.
            var bitsPerLevel = TFormat.ItemSizeLg2(geometry, 1) - TFormat.ItemSizeLg2(geometry, 0);
            var itemLg2 = TFormat.ItemSizeLg2(geometry, level);
            var offset = root + ((input >> itemLg2) << TFormat.EntrySizeLg2) - first;
            var plain = TFormat.PlainTable(geometry, level, out var mask);
            while (offset < size)
            {
                var entry = TFormat.EntrySizeLg2 == 3 ? *(ulong*)(host + offset) : *(uint*)(host + offset);
                if (level == 0)
                {
                    var plainLeaf = TFormat.PlainLeaf(geometry, out var leafMask);
                    var attributes = TFormat.Attributes(geometry, 0, entry);
                    if ((entry & leafMask) != plainLeaf || (Required(access) & ~(uint)attributes) != 0)
                        break;
                    result.Fault = WalkFault.None;
                    result.Level = 0;
                    result.SizeLg2 = itemLg2;
                    result.Attributes = attributes;
                    result.Output = TFormat.LeafAddress(geometry, 0, entry) | (input & ((1UL << itemLg2) - 1));
                    result.Entry = entry;
                    result.EntryAddress = first + offset;
                    reader.Visit(0, 0, result.EntryAddress, entry, EntryKind.Leaf);
                    return true;
                }

                if ((entry & mask) != plain)
                    break;
                level--;
                itemLg2 -= bitsPerLevel;
                offset = TFormat.TableAddress(geometry, entry) + (((input >> itemLg2) & ((1UL << bitsPerLevel) - 1)) << TFormat.EntrySizeLg2) - first;
            }
        }

        return WalkFromRoot<TFormat, TReader>(geometry, root, ref reader, address, access, out result);
    }

    private const WalkAccess FastAccess =
        WalkAccess.Read | WalkAccess.Write | WalkAccess.Execute | WalkAccess.FaultOnClearAccessed | WalkAccess.FaultOnClearDirty;

    // The attributes that a leaf must have for an access without privilege: the permissions, User, and A or D where a clear one is a fault.
    private static uint Required(WalkAccess access) =>
        ((uint)access & 7) | (uint)PageAttributes.User | (((uint)access & (uint)WalkAccess.FaultOnClearAccessed) << 1)
        | (((uint)access & ((uint)access >> 5) & (uint)WalkAccess.Write) << 6);

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static bool WalkFromRoot<TFormat, TReader>(
        in PageTableGeometry geometry, ulong root, ref TReader reader, ulong address, WalkAccess access, out WalkResult result)
        where TFormat : struct, IPageTableFormat
        where TReader : struct, ITableReader, allows ref struct
    {
        if (!geometry.Contains(address))
            return Stop(out result, WalkFault.AddressTooWide, geometry.TopLevel, 0, 0);
        var input = address & geometry.InputMask;
        var index = input >> TFormat.ItemSizeLg2(geometry, geometry.TopLevel);
        var limits = AllAccess;
        var table = root;
        var level = geometry.TopLevel;
        var itemLg2 = TFormat.ItemSizeLg2(geometry, level);
        while (true)
        {
            var entryAddress = table + (index << TFormat.EntrySizeLg2);
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
            table = TFormat.TableAddress(geometry, entry);
            if (table >> geometry.OutputBits != 0)
                return Stop(out result, WalkFault.OutputTooWide, level, entryAddress, entry);
            limits &= TFormat.TableLimits(geometry, entry);
            if (TFormat.AccessedInTables && (access & WalkAccess.UpdateAccessedDirty) != 0
                && !Update<TFormat, TReader>(p, entryAddress, entry, false, ref reader, ref fault))
                return Stop(out result, fault, level, entryAddress, entry);
            itemLg2 = TFormat.ItemSizeLg2(geometry, next);
            index = (input >> itemLg2) & ((1UL << (coversLg2 - itemLg2)) - 1);
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
        result.Fault = WalkFault.None;
        result.Level = level;
        result.SizeLg2 = sizeLg2;
        result.Attributes = attributes;
        result.Output = output | (input & inPage);
        result.Entry = entry;
        result.EntryAddress = entryAddress;

        // All in one test for the usual case: nothing is missing, no rule about privilege, accessed or dirty bits applies.
        const WalkAccess rules = WalkAccess.Privileged | WalkAccess.FaultOnClearAccessed | WalkAccess.FaultOnClearDirty | WalkAccess.UpdateAccessedDirty;
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
        // Privilege is judged before permissions, as VT-d's fault reasons are ordered (81h before 82h, 85h, 86h); the other books have one code for both.
        if ((attributes & PageAttributes.User) == 0 ? (access & WalkAccess.Privileged) == 0 && access != WalkAccess.None
            : (access & (WalkAccess.Privileged | WalkAccess.PrivilegedNotUser)) == (WalkAccess.Privileged | WalkAccess.PrivilegedNotUser))
            return WalkFault.Privilege;
        var missing = (uint)access & ~(uint)attributes & 7;
        if (missing != 0)
            return (missing & 4) != 0 ? WalkFault.Execute : (missing & 2) != 0 ? WalkFault.Write : WalkFault.Read;
        const WalkAccess dirtyRule = WalkAccess.FaultOnClearDirty | WalkAccess.Write;
        return (access & dirtyRule) == dirtyRule && (attributes & PageAttributes.Dirty) == 0 ? WalkFault.AccessFlag : WalkFault.None;
    }

    // Another walker may set its bits at the same moment: then ours are added to those. When software changed the entry, it is no longer ours to mark.
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
