using IommuFd.Native;

namespace IommuFd;

/// <summary>
/// One I/O address space (the proposal's IOASID): which memory an IOVA stands for, for every device attached to it. A root: its page table is the kernel's,
/// changed with <see cref="Map(DmaBuffer, DmaAccess)"/> and the disposal of the <see cref="Mapping"/>.
/// </summary>
public sealed partial class IoAddressSpace : Resource
{
    private readonly Ioas? _ioas;
    private readonly IMappingBackend _backend;
    private readonly Lock _gate = new();
    private readonly List<DmaBuffer> _kept = []; // memory of mappings that the kernel did not remove
    private IovaRange[] _permitted = [];
    private ulong _alignment;

    internal IoAddressSpace(IommuContext context, Ioas ioas)
        : base(context)
    {
        Context = context;
        _ioas = ioas;
        _backend = new IoasBackend(ioas);
        Refresh();
    }

    internal IoAddressSpace(IommuContext context, ContainerSpace space)
        : base(context)
    {
        Context = context;
        _backend = space;
        Refresh();
    }

    /// <summary>The context it belongs to.</summary>
    public IommuContext Context { get; }

    /// <summary>The kernel's id of the address space; 0 over containers, which have none.</summary>
    public uint Id => _ioas?.Id ?? 0;

    /// <summary>The kernel object underneath. Mappings made through it directly are not known here and keep no memory alive.</summary>
    /// <exception cref="IommuFdException">The context is over containers, which have no such object.</exception>
    public Ioas Ioas => _ioas ?? throw Failure.Because(
        "IOMMU_IOAS_ALLOC", Errno.EOPNOTSUPP, FailureCause.NotSupported, "legacy VFIO has no address space objects", "Use a kernel with /dev/iommu.",
        new Evidence("context", nameof(ContextKind.Container)));

    internal ContainerSpace? Containers => _backend as ContainerSpace;

    /// <summary>Where memory may be mapped now, ascending. Asked again after every attach and detach: each device has its own reserved ranges and width.</summary>
    public IReadOnlyList<IovaRange> PermittedRanges
    {
        get
        {
            lock (_gate)
            {
                return _permitted;
            }
        }
    }

    /// <summary>Bytes that IOVAs and lengths must be aligned to.</summary>
    public ulong Alignment
    {
        get
        {
            lock (_gate)
            {
                return _alignment;
            }
        }
    }

    /// <summary>Maps a whole buffer at an IOVA that the kernel chooses.</summary>
    /// <exception cref="IommuFdException">ENOMEM the locked-memory limit, ENOSPC no free range.</exception>
    public Mapping Map(DmaBuffer buffer, DmaAccess access)
    {
        ArgumentNullException.ThrowIfNull(buffer);
        return Map(buffer, 0, buffer.Length, access, null);
    }

    /// <summary>Maps a whole buffer at an IOVA that the caller chooses.</summary>
    /// <exception cref="IommuFdException">EINVAL not aligned or not permitted, EEXIST something is mapped there, ENOMEM the locked-memory limit.</exception>
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
            int result = _backend.Map(address, length, access, iova is not null, ref where);
            if (result < 0)
            {
                throw _backend.MapFailure(result, address, length, iova);
            }

            Mapping mapping = new(this, buffer, where, offset, length, access);
            _mappings.Add(mapping);
            return mapping;
        }
        catch
        {
            buffer.Exit();
            Exit();
            throw;
        }
    }

    /// <summary>Reads the permitted ranges again.</summary>
    internal void Refresh()
    {
        IovaRange[] permitted = _backend.GetRanges(out ulong alignment);
        lock (_gate)
        {
            _permitted = permitted;
            _alignment = alignment;
        }
    }

    internal int Unmap(ulong iova, ulong length) => _backend.Unmap(iova, length);

    internal void Forget(Mapping mapping) => _mappings.Remove(mapping);

    internal void KeepUntilDestroyed(DmaBuffer buffer)
    {
        buffer.Keep();
        lock (_gate)
        {
            _kept.Add(buffer);
        }
    }

    private protected override void Free()
    {
        if (_backend.Destroy())
        {
            _kept.ForEach(static buffer => buffer.Exit());
        }
    }
}
