using IommuFd.Native.Uapi;

namespace IommuFd;

/// <summary>An address space that is an IOAS.</summary>
internal sealed class IoasBackend(Ioas ioas) : IMappingBackend
{
    public string MapCommand => nameof(Iommufd.IOMMU_IOAS_MAP);

    public int Map(nint address, ulong length, DmaAccess access, bool isFixed, ref ulong iova) =>
        ioas.MapCall((uint)access | (isFixed ? (uint)iommufd_ioas_map_flags.IOMMU_IOAS_MAP_FIXED_IOVA : 0), address, length, ref iova);

    public int Unmap(ulong iova, ulong length) => ioas.UnmapCall(iova, ref length);

    public IovaRange[] GetRanges(out ulong alignment) => ioas.GetIovaRanges(out alignment);

    public IommuFdException MapFailure(int result, nint address, ulong length, ulong? iova) => ioas.MapFailure(result, address, length, iova);

    public bool Destroy()
    {
        ioas.Dispose();
        return ioas.IsDestroyed;
    }
}
