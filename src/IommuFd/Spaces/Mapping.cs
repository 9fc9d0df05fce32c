using IommuFd.Native;

namespace IommuFd;

/// <summary>Memory that has an IOVA. It owns what it maps: the buffer's memory stays until the mapping is disposed.</summary>
public sealed class Mapping : Resource
{
    internal Mapping(IoAddressSpace space, DmaBuffer buffer, ulong iova, ulong offset, ulong length, DmaAccess access)
        : base(space, buffer)
    {
        Space = space;
        Buffer = buffer;
        Iova = iova;
        Offset = offset;
        Length = length;
        Access = access;
    }

    /// <summary>The address space it is in.</summary>
    public IoAddressSpace Space { get; }

    /// <summary>The memory.</summary>
    public DmaBuffer Buffer { get; }

    /// <summary>What a device uses as the address of the first byte.</summary>
    public ulong Iova { get; }

    /// <summary>Where in <see cref="Buffer"/> the mapping starts, in bytes.</summary>
    public ulong Offset { get; }

    /// <summary>The process address of the first byte.</summary>
    internal ulong Address => (ulong)Buffer.Address + Offset;

    /// <summary>Bytes.</summary>
    public ulong Length { get; }

    /// <summary>What devices may do.</summary>
    public DmaAccess Access { get; }

    // A mapping that cannot be removed still lets devices at the memory: then the memory stays as long as the address space.
    private protected override void Free()
    {
        Space.Forget(this); // before the IOVA can be given out again
        int result = Space.Unmap(Iova, Length);
        if (result < 0 && result != -Errno.ENOENT)
        {
            Space.KeepUntilDestroyed(Buffer);
        }
    }
}
