using IommuFd.Native;

namespace IommuFd;

/// <summary>
/// An address space over type1 containers. Containers know no address spaces apart from themselves, so the mappings are kept here and put into the
/// container of every group that is attached; a group that is not attached has an empty container, which blocks its DMA.
/// </summary>
internal sealed class ContainerSpace : IMappingBackend
{
    // Before a device is attached nobody knows its ranges. Above 4 GiB is clear of what platforms keep for themselves, 38 bits are what every IOMMU
    // has.
    private static readonly IovaRange s_guess = new(1UL << 32, (1UL << 38) - 1);

    private readonly Lock _gate = new();
    private readonly List<ContainerGroup> _groups = [];
    private readonly SortedDictionary<ulong, (nint Address, ulong Length, DmaAccess Access)> _mappings = [];

    /// <summary>Whether a device is attached, so that the permitted ranges are known.</summary>
    internal bool HasGroups
    {
        get
        {
            lock (_gate)
            {
                return _groups.Count != 0;
            }
        }
    }

    public uint Id => 0;

    public string MapCommand => "VFIO_IOMMU_MAP_DMA";

    public string CopyCommand => MapCommand;

    public int Map(nint address, ulong length, DmaAccess access, bool isFixed, ref ulong iova)
    {
        lock (_gate)
        {
            ulong alignment = (ulong)Libc.PageSize;
            if (length == 0 || (((ulong)address | length | (isFixed ? iova : 0)) & (alignment - 1)) != 0)
            {
                return -Errno.EINVAL;
            }

            if (isFixed)
            {
                if (length - 1 > ulong.MaxValue - iova)
                {
                    return -Errno.EOVERFLOW;
                }

                if (Overlaps(iova, length))
                {
                    return -Errno.EEXIST;
                }
            }
            else if (!TryChoose(length, alignment, out iova))
            {
                return -Errno.ENOSPC;
            }

            for (int i = 0; i < _groups.Count; i++)
            {
                int result = _groups[i].Container.MapCall(address, length, access, iova);
                if (result < 0)
                {
                    ulong start = iova;
                    _groups[..i].ForEach(group => _ = Unmap(group, start, length));
                    return result;
                }
            }

            _mappings.Add(iova, (address, length, access));
            return 0;
        }
    }

    // Containers share nothing: the memory is pinned and counted once more.
    public int MapFrom(IMappingBackend source, ulong sourceIova, in SpacePiece piece)
    {
        ulong iova = piece.Iova;
        return Map(piece.Address, piece.Length, piece.Access, isFixed: true, ref iova);
    }

    public int Unmap(ulong iova, ulong length)
    {
        lock (_gate)
        {
            if (!_mappings.TryGetValue(iova, out (nint Address, ulong Length, DmaAccess Access) mapping) || mapping.Length != length)
            {
                return -Errno.ENOENT;
            }

            int worst = 0;
            foreach (ContainerGroup group in _groups)
            {
                int result = Unmap(group, iova, length);
                worst = result < 0 ? result : worst;
            }

            if (worst >= 0)
            {
                _ = _mappings.Remove(iova);
            }

            return worst;
        }
    }

    public IovaRange[] GetRanges(out ulong alignment)
    {
        alignment = (ulong)Libc.PageSize;
        lock (_gate)
        {
            if (_groups.Count == 0)
            {
                return [s_guess];
            }

            return IovaAllocator.Common(_groups.Select(static group => group.Container.GetInfo().IovaRanges));
        }
    }

    public IommuFdException MapFailure(int result, nint address, ulong length, ulong? iova) => Failure.Of(
        MapCommand, result, [Evidence.Hex("address", (ulong)address), Evidence.Hex("length", length),
            .. iova is { } at ? [Evidence.Hex("iova", at)] : Array.Empty<Evidence>()]);

    public bool Destroy()
    {
        lock (_gate)
        {
            return _groups.Count == 0;
        }
    }

    /// <summary>Puts the mappings into a group's container. 0 or -errno, and then none of them is in it.</summary>
    internal int Attach(ContainerGroup group)
    {
        lock (_gate)
        {
            if (group.IsNoIommu && _mappings.Count > 0)
            {
                return -Errno.EOPNOTSUPP;
            }

            foreach ((ulong iova, (nint address, ulong length, DmaAccess access)) in _mappings)
            {
                int result = group.Container.MapCall(address, length, access, iova);
                if (result < 0)
                {
                    Clear(group);
                    return result == -Errno.EINVAL ? -Errno.EADDRINUSE : result; // a mapping lies where this group must have none
                }
            }

            _groups.Add(group);
            return 0;
        }
    }

    /// <summary>Empties a group's container: its DMA is blocked.</summary>
    internal void Detach(ContainerGroup group)
    {
        lock (_gate)
        {
            Clear(group);
            _ = _groups.Remove(group);
        }
    }

    private void Clear(ContainerGroup group)
    {
        ulong all = 0;
        if (group.Container.UnmapCall(0, ref all, Native.Uapi.Vfio.VFIO_DMA_UNMAP_FLAG_ALL) < 0)
        {
            foreach ((ulong iova, (nint _, ulong length, DmaAccess _)) in _mappings)
            {
                _ = Unmap(group, iova, length); // kernels before 5.12 have no "all"
            }
        }
    }

    private static int Unmap(ContainerGroup group, ulong iova, ulong length) => group.Container.UnmapCall(iova, ref length, 0);

    private bool TryChoose(ulong length, ulong alignment, out ulong iova) => IovaAllocator.TryChoose(
        GetRanges(out _), _mappings.Select(static pair => (pair.Key, pair.Value.Length)), length, alignment, out iova);

    private bool Overlaps(ulong iova, ulong length)
    {
        foreach ((ulong start, (nint _, ulong taken, DmaAccess _)) in _mappings)
        {
            if (start <= iova + (length - 1) && iova <= start + (taken - 1))
            {
                return true;
            }
        }

        return false;
    }
}
