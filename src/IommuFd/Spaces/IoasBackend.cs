using IommuFd.Native.Uapi;

namespace IommuFd;

/// <summary>An address space that is an IOAS. The space holds it, so calls need not.</summary>
internal sealed class IoasBackend(Ioas ioas) : IMappingBackend
{
    internal Ioas Ioas => ioas;

    public uint Id => ioas.Id;

    public string MapCommand => nameof(Iommufd.IOMMU_IOAS_MAP);

    public string CopyCommand => nameof(Iommufd.IOMMU_IOAS_COPY);

    public int Map(nint address, ulong length, DmaAccess access, bool isFixed, ref ulong iova) =>
        ioas.MapHeld((uint)access | (isFixed ? (uint)iommufd_ioas_map_flags.IOMMU_IOAS_MAP_FIXED_IOVA : 0), address, length, ref iova);

    // The copy shares the pages of the source: pinned and counted once.
    public int MapFrom(IMappingBackend source, ulong sourceIova, in SpacePiece piece)
    {
        ulong iova = piece.Iova;
        return ioas.CopyCall(((IoasBackend)source).Ioas, sourceIova, piece.Length,
            (uint)piece.Access | (uint)iommufd_ioas_map_flags.IOMMU_IOAS_MAP_FIXED_IOVA, ref iova);
    }

    public int Unmap(ulong iova, ulong length) => ioas.UnmapHeld(iova, ref length);

    public IovaRange[] GetRanges(out ulong alignment) => ioas.GetIovaRanges(out alignment);

    public IommuFdException MapFailure(int result, nint address, ulong length, ulong? iova) => ioas.MapFailure(result, address, length, iova);

    public bool Destroy()
    {
        ioas.Dispose();
        return ioas.IsDestroyed;
    }
}
