namespace IommuFd;

/// <summary>What a <see cref="MappedAddressSpace"/> needs of the kernel. Results are 0 or -errno.</summary>
internal interface IMappingBackend
{
    /// <summary>The kernel's id of the space, 0 where it has none.</summary>
    uint Id { get; }

    /// <summary>Whether the kernel merges a child with its parent: then the child's addresses are the parent's, and nothing has to follow.</summary>
    bool MergesChildren => false;

    /// <summary>A device is attached to the space, or not any more.</summary>
    void Attached(BoundDevice device, bool attached)
    {
    }

    /// <summary>The command's name, for errors.</summary>
    string MapCommand { get; }

    /// <summary>The name of the command that takes memory over from another space.</summary>
    string CopyCommand { get; }

    /// <summary>Maps; <paramref name="iova"/> is chosen unless <paramref name="isFixed"/>.</summary>
    int Map(nint address, ulong length, DmaAccess access, bool isFixed, ref ulong iova);

    /// <summary>Maps a piece that is memory of another space of the same kind.</summary>
    int MapFrom(IMappingBackend source, ulong sourceIova, in SpacePiece piece);

    /// <summary>Unmaps one whole mapping.</summary>
    int Unmap(ulong iova, ulong length);

    /// <summary>Where may be mapped now.</summary>
    IovaRange[] GetRanges(out ulong alignment);

    /// <summary>The exception for a failed map.</summary>
    IommuFdException MapFailure(int result, nint address, ulong length, ulong? iova);

    /// <summary>Gives the space back; false when mappings may be left in the kernel.</summary>
    bool Destroy();
}
