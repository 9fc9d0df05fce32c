namespace IommuFd;

/// <summary>What an <see cref="IoAddressSpace"/> needs of the kernel. Results are 0 or -errno.</summary>
internal interface IMappingBackend
{
    /// <summary>The command's name, for errors.</summary>
    string MapCommand { get; }

    /// <summary>Maps; <paramref name="iova"/> is chosen unless <paramref name="isFixed"/>.</summary>
    int Map(nint address, ulong length, DmaAccess access, bool isFixed, ref ulong iova);

    /// <summary>Unmaps one whole mapping.</summary>
    int Unmap(ulong iova, ulong length);

    /// <summary>Where may be mapped now.</summary>
    IovaRange[] GetRanges(out ulong alignment);

    /// <summary>The exception for a failed map.</summary>
    IommuFdException MapFailure(int result, nint address, ulong length, ulong? iova);

    /// <summary>Gives the space back; false when mappings may be left in the kernel.</summary>
    bool Destroy();
}
