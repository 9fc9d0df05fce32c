using System.Globalization;

namespace IommuFd.HwSim.PageTables;

/// <summary>A page that a table maps.</summary>
/// <param name="Address">First input address.</param>
/// <param name="SizeLg2">log2 of its size.</param>
/// <param name="Output">First output address.</param>
/// <param name="Attributes">What the leaf says; limits of the tables above it are applied.</param>
/// <param name="Level">Level of the table that holds it.</param>
/// <param name="Entry">The (first) entry.</param>
public readonly record struct PageTableLeaf(ulong Address, int SizeLg2, ulong Output, PageAttributes Attributes, int Level, ulong Entry);

public sealed partial class PageTableWalker<TFormat>
{
    /// <summary>All pages in order of their addresses, found by reading every table once. What a walk would refuse is left out.</summary>
    /// <remarks>Ends for every content of memory, but tables that point back to themselves are read again for each address they stand for.</remarks>
    public IEnumerable<PageTableLeaf> Leaves() => LeavesBelow(
        Root, _geometry.TopLevel, 0, _geometry.InputBits - TFormat.ItemSizeLg2(_geometry, _geometry.TopLevel),
        PageAttributes.Read | PageAttributes.Write | PageAttributes.Execute | PageAttributes.User);

    /// <summary>Writes the tables as text: one line per page, runs of pages that continue each other joined.</summary>
    /// <param name="output">Where to.</param>
    public void Dump(TextWriter output)
    {
        ArgumentNullException.ThrowIfNull(output);
        PageTableLeaf? first = null;
        ulong pages = 0;
        foreach (var leaf in Leaves())
        {
            if (first is { } f && leaf.SizeLg2 == f.SizeLg2 && leaf.Attributes == f.Attributes
                && leaf.Address == f.Address + (pages << f.SizeLg2) && leaf.Output == f.Output + (pages << f.SizeLg2))
            {
                pages++;
                continue;
            }

            Line(output, first, pages);
            first = leaf;
            pages = 1;
        }

        Line(output, first, pages);
    }

    private static void Line(TextWriter output, PageTableLeaf? run, ulong pages)
    {
        if (run is { } r)
        {
            output.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"0x{r.Address:x16}-0x{r.Address + (pages << r.SizeLg2) - 1:x16} -> 0x{r.Output:x} {pages} x 2^{r.SizeLg2} level {r.Level}"
                    + $" {r.Attributes}"));
        }
    }

    private IEnumerable<PageTableLeaf> LeavesBelow(ulong table, int level, ulong address, int indexBits, PageAttributes limits)
    {
        var itemLg2 = TFormat.ItemSizeLg2(_geometry, level);
        for (ulong index = 0; index < 1UL << indexBits;)
        {
            var at = address + (index << itemLg2);
            if (!TryRead(table + (index << TFormat.EntrySizeLg2), out var entry))
                yield break;
            var kind = TFormat.KindOf(_geometry, level, entry);
            index++;
            if (kind is EntryKind.Empty or EntryKind.Reserved || TFormat.ReservedBits(_geometry, level, entry) != 0)
                continue;
            if (kind == EntryKind.Table)
            {
                var next = TFormat.NextLevel(_geometry, level, entry);
                if ((uint)next >= (uint)level)
                    continue;
                var bits = TFormat.ItemSizeLg2(_geometry, next + 1) - TFormat.ItemSizeLg2(_geometry, next);
                foreach (var leaf in LeavesBelow(TFormat.TableAddress(_geometry, entry), next, at, bits,
                    limits & TFormat.TableLimits(_geometry, entry)))
                    yield return leaf;
                continue;
            }

            var sizeLg2 = TFormat.LeafSizeLg2(_geometry, level, entry);
            if (sizeLg2 < itemLg2)
                continue;
            var output = TFormat.LeafAddress(_geometry, level, entry);
            var attributes = TFormat.Attributes(_geometry, level, entry) & (limits | ~(PageAttributes)15);
            // A run of entries is told once, at its first entry; one that begins in the middle is told entry by entry.
            if (sizeLg2 > itemLg2 && (at & ((1UL << sizeLg2) - 1)) == 0)
                index += (1UL << (sizeLg2 - itemLg2)) - 1;
            else
                sizeLg2 = itemLg2;
            yield return new PageTableLeaf(SignExtended(at), sizeLg2, output, attributes, level, entry);
        }
    }

    private ulong SignExtended(ulong address)
    {
        var unused = 64 - _geometry.InputBits;
        return _geometry.Has(PageTableFeatures.SignExtend) ? (ulong)((long)(address << unused) >> unused) : address;
    }

    private bool TryRead(ulong address, out ulong entry)
    {
        if (TFormat.EntrySizeLg2 == 3)
            return Memory.Read64(address, out entry);
        var ok = Memory.Read32(address, out var half);
        entry = half;
        return ok;
    }
}
