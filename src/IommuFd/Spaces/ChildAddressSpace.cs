using IommuFd.Native;

namespace IommuFd;

/// <summary>
/// A child made by software nesting (RFC v2 1.3 and flow 4.3): its mappings lead to addresses of its parent. The merged table that devices walk is
/// kept by the library, of parts copied from the parent's (IOMMU_IOAS_COPY, so that memory is pinned once; over containers mapped again), or by a
/// kernel that can.
/// </summary>
/// <remarks>
/// A mapping may lead to where the parent has nothing yet: DMA there faults until the parent maps it, as it would if the IOMMU walked both tables.
/// Changing the parent costs a look at every mapping of its children (the proposal discourages it for that).
/// </remarks>
public sealed class ChildAddressSpace : MappedAddressSpace
{
    private readonly MappedAddressSpace _parent;
    private readonly List<NestedMapping> _mappings = []; // by IOVA; guarded by the nesting gate, as what follows
    private readonly List<SpacePiece> _pieces = []; // what of the mappings leads to memory, by IOVA

    internal ChildAddressSpace(MappedAddressSpace parent, IMappingBackend backend)
        : base(parent.Context, parent, parent, backend)
    {
        _parent = parent;
    }

    /// <inheritdoc/>
    public override SpaceKind Kind => SpaceKind.Child;

    /// <summary>The mappings, by IOVA.</summary>
    public IReadOnlyList<NestedMapping> Mappings
    {
        get
        {
            lock (NestingGate)
            {
                return [.. _mappings];
            }
        }
    }

    /// <summary>Lets IOVAs of this space lead to addresses of the parent.</summary>
    /// <param name="iova">The first IOVA, aligned and inside <see cref="MappedAddressSpace.PermittedRanges"/>.</param>
    /// <param name="parentIova">Where it leads in the parent.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="access">What devices may do, where the parent allows it too.</param>
    /// <exception cref="IommuFdException">EINVAL not aligned or not permitted, EEXIST something is mapped there, ENOMEM the locked-memory limit
    /// (containers).</exception>
    public NestedMapping Map(ulong iova, ulong parentIova, ulong length, DmaAccess access)
    {
        Enter();
        try
        {
            NestedMapping mapping = new(this, iova, parentIova, length, access);
            if (Backend.MergesChildren)
            {
                MapMerged(mapping);
                return mapping;
            }

            int result = Check(mapping);
            if (result >= 0)
            {
                lock (NestingGate)
                {
                    result = Add(mapping);
                }
            }

            return result >= 0 ? mapping : throw MapFailure(result, mapping);
        }
        catch
        {
            Exit();
            throw;
        }
    }

    // The kernel does all that the rest of this class does.
    private void MapMerged(NestedMapping mapping)
    {
        ulong iova = mapping.Iova;
        int result = Backend.Map((nint)mapping.ParentIova, mapping.Length, mapping.Access, isFixed: true, ref iova);
        if (result < 0)
        {
            throw Backend.MapFailure(result, (nint)mapping.ParentIova, mapping.Length, mapping.Iova);
        }

        lock (NestingGate)
        {
            int at = _mappings.FindIndex(other => other.Iova > iova);
            _mappings.Insert(at < 0 ? _mappings.Count : at, mapping);
        }
    }

    internal override bool NextPiece(ulong first, ulong last, out SpacePiece piece)
    {
        int at = After(first); // the first that begins behind it, so that the one before may hold it
        at -= at > 0 && _pieces[at - 1].Last >= first ? 1 : 0;
        if (at == _pieces.Count || _pieces[at].Iova > last)
        {
            piece = default;
            return false;
        }

        piece = _pieces[at].Within(first, last);
        return true;
    }

    /// <summary>The parent leads to memory there from now on. 0 or -errno.</summary>
    internal int ParentMapped(ulong first, ulong last)
    {
        lock (NestingGate)
        {
            for (int i = 0; i < _mappings.Count; i++)
            {
                NestedMapping mapping = _mappings[i];
                if (mapping.ParentIova <= last && mapping.ParentLast >= first)
                {
                    int result = Fill(mapping, Math.Max(first, mapping.ParentIova), Math.Min(last, mapping.ParentLast));
                    if (result < 0)
                    {
                        return result;
                    }
                }
            }

            return 0;
        }
    }

    /// <summary>The parent leads nowhere there from now on. 0 or -errno.</summary>
    internal int ParentUnmapped(ulong first, ulong last)
    {
        lock (NestingGate)
        {
            int worst = 0;
            for (int i = 0; i < _mappings.Count; i++)
            {
                NestedMapping mapping = _mappings[i];
                if (mapping.ParentIova <= last && mapping.ParentLast >= first)
                {
                    ulong from = Math.Max(first, mapping.ParentIova), to = Math.Min(last, mapping.ParentLast);
                    worst = Math.Min(worst, Empty(mapping.Iova + (from - mapping.ParentIova), mapping.Iova + (to - mapping.ParentIova)));
                }
            }

            return worst;
        }
    }

    internal void Remove(NestedMapping mapping)
    {
        lock (NestingGate)
        {
            _ = _mappings.Remove(mapping);
            if (Backend.MergesChildren)
            {
                _ = Backend.Unmap(mapping.Iova, mapping.Length);
                return;
            }

            _ = Empty(mapping.Iova, mapping.Last); // what stays is the parent's memory, which outlives this space
        }
    }

    private int Check(NestedMapping mapping)
    {
        ulong mask = Alignment - 1;
        if (mapping.Length == 0 || ((mapping.Iova | mapping.ParentIova | mapping.Length) & mask) != 0)
        {
            return -Errno.EINVAL;
        }

        if (mapping.Last < mapping.Iova || mapping.ParentLast < mapping.ParentIova)
        {
            return -Errno.EOVERFLOW;
        }

        if (Backend is ContainerSpace { HasGroups: false })
        {
            return 0; // nobody knows the ranges before a device is attached; the kernel checks then
        }

        foreach (IovaRange range in PermittedRanges)
        {
            if (range.Contains(mapping.Iova, mapping.Length))
            {
                return 0;
            }
        }

        return -Errno.EINVAL;
    }

    private int Add(NestedMapping mapping)
    {
        int at = 0;
        for (int high = _mappings.Count; at < high;)
        {
            int middle = (at + high) / 2;
            (at, high) = _mappings[middle].Iova < mapping.Iova ? (middle + 1, high) : (at, middle);
        }

        if ((at > 0 && _mappings[at - 1].Last >= mapping.Iova) || (at < _mappings.Count && _mappings[at].Iova <= mapping.Last))
        {
            return -Errno.EEXIST;
        }

        int result = Fill(mapping, mapping.ParentIova, mapping.ParentLast);
        if (result < 0)
        {
            _ = Empty(mapping.Iova, mapping.Last);
            return result;
        }

        _mappings.Insert(at, mapping);
        return 0;
    }

    // Takes what the parent has in a range of its addresses, with the access that both levels give.
    private int Fill(NestedMapping mapping, ulong first, ulong last)
    {
        while (_parent.NextPiece(first, last, out SpacePiece from))
        {
            SpacePiece piece = new(mapping.Iova + (from.Iova - mapping.ParentIova), from.Length, from.Address, from.Access & mapping.Access);
            int at = After(piece.Iova);
            bool isThere = at > 0 && _pieces[at - 1].Iova == piece.Iova; // a map of the parent that raced with ours told us twice
            if (piece.Access != DmaAccess.None && !isThere)
            {
                int result = Backend.MapFrom(_parent.Backend, from.Iova, piece);
                if (result < 0)
                {
                    return result;
                }

                _pieces.Insert(at, piece);
                result = MappedForChildren(piece.Iova, piece.Length);
                if (result < 0)
                {
                    return result;
                }
            }

            if (from.Last == last)
            {
                break;
            }

            first = from.Last + 1;
        }

        return 0;
    }

    // Pieces come from one piece of the parent each and go with it, so none is ever cut.
    private int Empty(ulong first, ulong last)
    {
        int worst = 0;
        for (int at = Math.Max(After(first) - 1, 0); at < _pieces.Count && _pieces[at].Iova <= last;)
        {
            SpacePiece piece = _pieces[at];
            if (piece.Last < first)
            {
                at++;
                continue;
            }

            _pieces.RemoveAt(at);
            worst = Math.Min(worst, UnmappedForChildren(piece.Iova, piece.Length));
            worst = Math.Min(worst, Backend.Unmap(piece.Iova, piece.Length));
        }

        return worst;
    }

    private int After(ulong iova)
    {
        (int low, int high) = (0, _pieces.Count);
        while (low < high)
        {
            int middle = (low + high) / 2;
            (low, high) = _pieces[middle].Iova <= iova ? (middle + 1, high) : (low, middle);
        }

        return low;
    }

    private IommuFdException MapFailure(int result, NestedMapping mapping)
    {
        Evidence[] evidence = [Evidence.Hex("iova", mapping.Iova), Evidence.Hex("parent iova", mapping.ParentIova),
            Evidence.Hex("length", mapping.Length)];
        ulong mask = Alignment - 1;
        return result == -Errno.EINVAL && ((mapping.Iova | mapping.ParentIova | mapping.Length) & mask) == 0 && mapping.Length != 0
            ? Failure.Because(
                Backend.CopyCommand, result, FailureCause.IovaNotPermitted, "the IOVA lies outside the child's permitted ranges",
                "Choose one inside them.",
                [.. evidence, new Evidence("permitted", string.Join(" ", PermittedRanges))])
            : Failure.Of(Backend.CopyCommand, result, evidence);
    }

    private protected override void Free()
    {
        _parent.Forget(this);
        _ = DestroyBackend();
    }
}
