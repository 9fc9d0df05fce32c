using IommuFd.Native;

namespace IommuFd;

/// <summary>
/// A root address space: which memory an IOVA stands for, for every device attached to it. Its page table is the kernel's, changed with
/// <see cref="Map(DmaBuffer, DmaAccess)"/> and the disposal of the <see cref="Mapping"/>; memory is pinned and counted here. Several may live in one
/// context.
/// </summary>
/// <remarks>
/// A root to which no device is attached, with memory at IOVAs equal to its process addresses, is the proposal's dummy root: parent of spaces that
/// share one pinning.
/// </remarks>
public sealed partial class IoAddressSpace : MappedAddressSpace
{
    private readonly Lock _keptGate = new();
    private readonly List<DmaBuffer> _kept = []; // memory of mappings that the kernel did not remove

    internal IoAddressSpace(IommuContext context, IMappingBackend backend)
        : base(context, context, null, backend)
    {
    }

    /// <inheritdoc/>
    public override SpaceKind Kind => SpaceKind.Root;

    /// <summary>The kernel object underneath. Mappings made through it directly are not known here and keep no memory alive.</summary>
    /// <exception cref="IommuFdException">The context is over containers, which have no such object.</exception>
    public Ioas Ioas => (Backend as IoasBackend)?.Ioas ?? throw Failure.Because(
        "IOMMU_IOAS_ALLOC", Errno.EOPNOTSUPP, FailureCause.NotSupported, "legacy VFIO has no address space objects", "Use a kernel with /dev/iommu.",
        new Evidence("context", $"{Context.Kind}"));

    /// <summary>Maps a whole buffer at an IOVA that the kernel chooses.</summary>
    /// <exception cref="IommuFdException">ENOMEM the locked-memory limit, ENOSPC no free range.</exception>
    public Mapping Map(DmaBuffer buffer, DmaAccess access)
    {
        ArgumentNullException.ThrowIfNull(buffer);
        return Map(buffer, 0, buffer.Length, access, null);
    }

    /// <summary>Maps a whole buffer at an IOVA that the caller chooses.</summary>
    /// <exception cref="IommuFdException">EINVAL not aligned or not permitted, EEXIST something is mapped there, ENOMEM the locked-memory
    /// limit.</exception>
    public Mapping MapFixed(DmaBuffer buffer, DmaAccess access, ulong iova)
    {
        ArgumentNullException.ThrowIfNull(buffer);
        return Map(buffer, 0, buffer.Length, access, iova);
    }

    /// <summary>Maps a part of a buffer.</summary>
    /// <param name="buffer">The memory; it stays alive as long as the mapping.</param>
    /// <param name="offset">Where the part starts, aligned to <see cref="Alignment"/>.</param>
    /// <param name="length">Its bytes, a multiple of <see cref="Alignment"/>.</param>
    /// <param name="access">What devices may do.</param>
    /// <param name="iova">Where, or null to let the kernel choose.</param>
    /// <exception cref="ArgumentOutOfRangeException">The part is not inside the buffer.</exception>
    /// <exception cref="IommuFdException">The kernel refused.</exception>
    public Mapping Map(DmaBuffer buffer, ulong offset, ulong length, DmaAccess access, ulong? iova)
    {
        ArgumentNullException.ThrowIfNull(buffer);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(offset, buffer.Length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, buffer.Length - offset);
        Enter();
        if (!buffer.TryEnter())
        {
            Exit();
            ObjectDisposedException.ThrowIf(true, buffer);
        }

        try
        {
            nint address = buffer.Address + (nint)offset;
            ulong where = iova ?? 0;
            int result = Backend.Map(address, length, access, iova is not null, ref where);
            if (result < 0)
            {
                throw Backend.MapFailure(result, address, length, iova);
            }

            Mapping mapping = new(this, buffer, where, offset, length, access);
            _mappings.Add(mapping);
            if (HasChildren)
            {
                TellChildren(mapping);
            }

            return mapping;
        }
        catch
        {
            buffer.Exit();
            Exit();
            throw;
        }
    }

    internal override bool NextPiece(ulong first, ulong last, out SpacePiece piece)
    {
        bool memory = _mappings.FirstIn(first, last, out piece);
        if (NextFilePiece(first, last) is { } file && (!memory || file.Iova < piece.Iova))
        {
            piece = file;
            return true;
        }

        return memory;
    }

    /// <summary>Removes one whole mapping: from children first, then here. 0 or -errno.</summary>
    internal int Unmap(ulong iova, ulong length)
    {
        int inChildren = HasChildren ? UnmappedForChildren(iova, length) : 0;
        int result = Backend.Unmap(iova, length);
        return result < 0 ? result : inChildren;
    }

    internal void Forget(Mapping mapping) => _mappings.Remove(mapping);

    internal void KeepUntilDestroyed(DmaBuffer buffer)
    {
        buffer.Keep();
        lock (_keptGate)
        {
            _kept.Add(buffer);
        }
    }

    private void TellChildren(Mapping mapping)
    {
        int result = MappedForChildren(mapping.Iova, mapping.Length);
        if (result < 0)
        {
            _mappings.Remove(mapping);
            if (Unmap(mapping.Iova, mapping.Length) < 0)
            {
                KeepUntilDestroyed(mapping.Buffer);
            }

            throw Failure.Of(Backend.CopyCommand, result, Evidence.Hex("iova", mapping.Iova), Evidence.Hex("length", mapping.Length),
                new Evidence("in", "a child of the space"));
        }
    }

    private protected override void Free()
    {
        if (DestroyBackend())
        {
            _kept.ForEach(static buffer => buffer.Exit());
        }
    }
}
