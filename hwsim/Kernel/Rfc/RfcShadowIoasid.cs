using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// Software nesting: a child whose mappings lead into its parent. The kernel merges both levels into one table, the shadow, and keeps it so when
/// either changes.
/// </summary>
/// <remarks>
/// A mapping may lead to where the parent has nothing yet: DMA there faults until the parent maps it, as it would if the IOMMU walked both tables.
/// The shadow's pages are the parent's, so that they are pinned and charged once.
/// </remarks>
internal sealed class RfcShadowIoasid(RfcContext context, RfcKernelIoasid parent, uint addressWidth, RfcSnoop snoop)
    : RfcKernelIoasid(context, parent, addressWidth, snoop)
{
    // By first address; they do not overlap.
    private readonly SortedList<ulong, Mapping> _mappings = [];
    private readonly List<IoPagetable.PagesSlice> _slices = [];

    private readonly record struct Mapping(ulong Iova, ulong Last, ulong ParentIova, IommuProt Prot)
    {
        public ulong ParentLast => ParentIova + (Last - Iova);
    }

    /// <inheritdoc/>
    internal override int Map(ulong iova, ulong address, ulong size, IommuProt prot, IUserMemory user)
    {
        var mapping = new Mapping(iova, iova + size - 1, address, prot | IommuProt.Cache);
        if (Pagetable.IsReserved(iova, mapping.Last))
        {
            return -Errno.EINVAL;
        }

        int at = FirstAt(iova);
        if (at < _mappings.Count && _mappings.GetValueAtIndex(at).Iova <= mapping.Last)
        {
            return -Errno.EEXIST;
        }

        int error = Fill(mapping, address, mapping.ParentLast);
        if (error < 0)
        {
            Empty(iova, mapping.Last);
            return error;
        }

        _mappings.Add(iova, mapping);
        return 0;
    }

    /// <inheritdoc/>
    internal override int Unmap(ulong first, ulong last, DirtyBitmap? dirty, out ulong unmapped)
    {
        unmapped = 0;
        int from = FirstAt(first), to = from;
        while (to < _mappings.Count && _mappings.GetValueAtIndex(to).Iova <= last)
        {
            Mapping mapping = _mappings.GetValueAtIndex(to++);
            if (mapping.Iova < first || mapping.Last > last)
            {
                return -Errno.EINVAL;
            }
        }

        if (dirty is not null)
        {
            ReadDirty(first, last, noClear: false, dirty);
        }

        while (to > from)
        {
            Mapping mapping = _mappings.GetValueAtIndex(--to);
            Empty(mapping.Iova, mapping.Last);
            _mappings.RemoveAt(to);
            unmapped += mapping.Last - mapping.Iova + 1;
        }

        return 0;
    }

    /// <summary>
    /// The parent mapped a range, or is about to unmap it: the shadow follows before the parent's command ends. What leads there is found by looking
    /// at every mapping:
    /// the costly reverse lookup of the proposal.
    /// </summary>
    internal int ParentChanged(ulong first, ulong last, bool mapped)
    {
        for (int i = 0; i < _mappings.Count; i++)
        {
            Mapping mapping = _mappings.GetValueAtIndex(i);
            if (mapping.ParentIova > last || mapping.ParentLast < first)
            {
                continue;
            }

            ulong from = ulong.Max(first, mapping.ParentIova), to = ulong.Min(last, mapping.ParentLast);
            int error = 0;
            if (mapped)
            {
                error = Fill(mapping, from, to);
            }
            else
            {
                Empty(mapping.Iova + (from - mapping.ParentIova), mapping.Iova + (to - mapping.ParentIova));
            }

            if (error < 0)
            {
                return error;
            }
        }

        return 0;
    }

    /// <summary>Reports the pages of a range of the parent that were written through this space.</summary>
    internal void ReadDirtyOfParent(ulong first, ulong last, bool noClear, DirtyBitmap dirty)
    {
        for (int i = 0; i < _mappings.Count; i++)
        {
            Mapping mapping = _mappings.GetValueAtIndex(i);
            if (mapping.ParentIova <= last && mapping.ParentLast >= first)
            {
                ulong offset = mapping.ParentIova - mapping.Iova, from = ulong.Max(first, mapping.ParentIova),
                    to = ulong.Min(last, mapping.ParentLast);
                ReadDirty(from - offset, to - offset, noClear, dirty.Shifted(offset));
            }
        }
    }

    /// <inheritdoc/>
    internal override void Free()
    {
        _ = Pagetable.UnmapAll(out _);
        base.Free();
    }

    // Takes what the parent has in a range of its addresses into the shadow, with the permissions that both levels give.
    private int Fill(in Mapping mapping, ulong first, ulong last)
    {
        IoPagetable from = ((RfcKernelIoasid)Parent!).Pagetable;
        for (ulong at = first; from.NextArea(at, last, out ulong start, out ulong end, out IommuProt allowed); at = end + 1)
        {
            ulong iova = mapping.Iova + (start - mapping.ParentIova), length = end - start + 1;
            IommuProt prot = mapping.Prot & allowed;
            if ((prot & (IommuProt.Read | IommuProt.Write)) != 0)
            {
                int error = from.GetPages(start, length, _slices);
                if (error == 0)
                {
                    error = Pagetable.MapSlices(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_slices), length,
                        ref iova, prot, allocate: false);
                    if (error < 0)
                    {
                        Context.Pools.PutSlices(_slices);
                    }
                }

                _slices.Clear();
                error = error == 0 ? Propagate(iova, iova + length - 1, mapped: true) : error;
                if (error < 0)
                {
                    return error;
                }
            }

            if (end == last)
            {
                break;
            }
        }

        return 0;
    }

    // Index of the first mapping that ends at or beyond an address.
    private int FirstAt(ulong iova)
    {
        int low = 0, high = _mappings.Count;
        while (low < high)
        {
            int middle = (low + high) >>> 1;
            if (_mappings.GetValueAtIndex(middle).Last < iova)
            {
                low = middle + 1;
            }
            else
            {
                high = middle;
            }
        }

        return low;
    }

    private void Empty(ulong first, ulong last)
    {
        _ = Propagate(first, last, mapped: false);
        _ = Pagetable.Unmap(first, last - first + 1, out _);
    }
}
