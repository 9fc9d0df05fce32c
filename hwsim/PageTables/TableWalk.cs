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
        result = default;
        var level = geometry.TopLevel;
        result.Level = level;
        if (!geometry.Contains(address))
        {
            result.Fault = WalkFault.AddressTooWide;
            return false;
        }

        var input = address & geometry.InputMask;
        var table = root;
        var index = input >> TFormat.ItemSizeLg2(geometry, level);
        var limits = AllAccess;
        while (true)
        {
            var itemLg2 = TFormat.ItemSizeLg2(geometry, level);
            result.Level = level;
            result.EntryAddress = table + (index << TFormat.EntrySizeLg2);
            var p = reader.Entry(result.EntryAddress, 1 << TFormat.EntrySizeLg2, ref result.Fault);
            if (p == null)
                return false;
            var entry = TFormat.EntrySizeLg2 == 3 ? Volatile.Read(ref *(ulong*)p) : Volatile.Read(ref *(uint*)p);
            result.Entry = entry;
            var kind = TFormat.KindOf(geometry, level, entry);
            reader.Visit(level, (int)index, result.EntryAddress, entry, kind);
            if (kind == EntryKind.Table)
            {
                if (TFormat.ReservedBits(geometry, level, entry) != 0)
                    return Fail(ref result, WalkFault.ReservedBits);
                var next = TFormat.NextLevel(geometry, level, entry);
                if ((uint)next >= (uint)level)
                    return Fail(ref result, WalkFault.ReservedBits);
                // A table covers what one entry of the level above it maps; bits between that and this entry were skipped and must be zero.
                var coversLg2 = TFormat.ItemSizeLg2(geometry, next + 1);
                if (coversLg2 != itemLg2 && ((input & ((1UL << itemLg2) - 1)) >> coversLg2) != 0)
                    return Fail(ref result, WalkFault.ReservedBits);
                table = TFormat.TableAddress(geometry, entry);
                if (table >> geometry.OutputBits != 0)
                    return Fail(ref result, WalkFault.OutputTooWide);
                limits &= TFormat.TableLimits(geometry, entry);
                if (TFormat.AccessedInTables && (access & WalkAccess.UpdateAccessedDirty) != 0
                    && !Update<TFormat, TReader>(p, entry, false, ref reader, ref result))
                    return false;
                var nextLg2 = TFormat.ItemSizeLg2(geometry, next);
                index = (input >> nextLg2) & ((1UL << (coversLg2 - nextLg2)) - 1);
                level = next;
                continue;
            }

            if (kind != EntryKind.Leaf)
                return Fail(ref result, kind == EntryKind.Empty ? WalkFault.NotPresent : WalkFault.ReservedBits);
            return Leaf<TFormat, TReader>(geometry, p, input, itemLg2, limits, access, ref reader, ref result);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool Leaf<TFormat, TReader>(
        in PageTableGeometry geometry, byte* p, ulong input, int itemLg2, PageAttributes limits, WalkAccess access, ref TReader reader, ref WalkResult result)
        where TFormat : struct, IPageTableFormat
        where TReader : struct, ITableReader, allows ref struct
    {
        var entry = result.Entry;
        if (TFormat.ReservedBits(geometry, result.Level, entry) != 0)
            return Fail(ref result, WalkFault.ReservedBits);
        var sizeLg2 = TFormat.LeafSizeLg2(geometry, result.Level, entry);
        if (sizeLg2 < itemLg2)
            return Fail(ref result, WalkFault.ReservedBits);
        result.SizeLg2 = sizeLg2;
        var output = TFormat.LeafAddress(geometry, result.Level, entry);
        // Where each entry of a run holds its own address, that address is aligned to the entry's size only.
        var alignLg2 = TFormat.ContiguousStep(1) != 0 ? itemLg2 : sizeLg2;
        if ((output & ((1UL << alignLg2) - 1)) != 0)
            return Fail(ref result, WalkFault.Misaligned);
        if (output >> geometry.OutputBits != 0)
            return Fail(ref result, WalkFault.OutputTooWide);
        var attributes = TFormat.Attributes(geometry, result.Level, entry);
        attributes &= limits | ~AllAccess;
        result.Attributes = attributes;
        result.Output = output | (input & ((1UL << alignLg2) - 1));

        if ((access & WalkAccess.FaultOnClearAccessed) != 0 && (attributes & PageAttributes.Accessed) == 0)
            return Fail(ref result, WalkFault.AccessFlag);
        // Privilege is judged before permissions, as VT-d's fault reasons are ordered (81h before 82h, 85h, 86h); the other books have one code for both.
        if ((attributes & PageAttributes.User) == 0 ? (access & WalkAccess.Privileged) == 0 && access != WalkAccess.None
            : (access & (WalkAccess.Privileged | WalkAccess.PrivilegedNotUser)) == (WalkAccess.Privileged | WalkAccess.PrivilegedNotUser))
            return Fail(ref result, WalkFault.Privilege);

        if (((uint)access & ~(uint)attributes & 7) != 0)
        {
            var missing = (uint)access & ~(uint)attributes & 7;
            return Fail(ref result, (missing & 4) != 0 ? WalkFault.Execute : (missing & 2) != 0 ? WalkFault.Write : WalkFault.Read);
        }

        if ((access & (WalkAccess.FaultOnClearDirty | WalkAccess.Write)) == (WalkAccess.FaultOnClearDirty | WalkAccess.Write)
            && (attributes & PageAttributes.Dirty) == 0)
            return Fail(ref result, WalkFault.AccessFlag);
        return (access & WalkAccess.UpdateAccessedDirty) == 0
            || Update<TFormat, TReader>(p, entry, (access & WalkAccess.Write) != 0, ref reader, ref result);
    }

    // Another walker may set its bits at the same moment: then ours are added to those. When software changed the entry, it is no longer ours to mark.
    private static bool Update<TFormat, TReader>(byte* p, ulong old, bool dirty, ref TReader reader, ref WalkResult result)
        where TFormat : struct, IPageTableFormat
        where TReader : struct, ITableReader, allows ref struct
    {
        while (true)
        {
            var updated = dirty ? TFormat.SetDirty(old) : TFormat.SetAccessed(old);
            if (old == updated)
                return true;
            if (!reader.CanWrite(result.EntryAddress, ref result.Fault))
                return false;
            var found = TFormat.EntrySizeLg2 == 3
                ? Interlocked.CompareExchange(ref *(ulong*)p, updated, old)
                : Interlocked.CompareExchange(ref *(uint*)p, (uint)updated, (uint)old);
            if (found == old || TFormat.SetDirty(found) != TFormat.SetDirty(old))
                return true;
            old = found;
        }
    }

    private static bool Fail(ref WalkResult result, WalkFault fault)
    {
        result.Fault = fault;
        return false;
    }
}
