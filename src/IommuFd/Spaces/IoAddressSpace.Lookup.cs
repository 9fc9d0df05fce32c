using IommuFd.Native;

namespace IommuFd;

/// <content>From process address to IOVA and back.</content>
public sealed partial class IoAddressSpace
{
    private readonly MappingTable _mappings = new();

    /// <summary>The mappings made here, by IOVA.</summary>
    public IReadOnlyList<Mapping> Mappings => _mappings.ToArray();

    /// <summary>What a device uses as the address of a byte of this process.</summary>
    /// <returns>False when the byte is not mapped here.</returns>
    public bool TryGetIova(nint address, out ulong iova)
    {
        Mapping? mapping = _mappings.AtAddress(address);
        iova = mapping is null ? 0 : mapping.Iova + ((ulong)address - mapping.Address);
        return mapping is not null;
    }

    /// <summary>The mapping that an IOVA lies in, for example one of a fault report; null when nothing is mapped there.</summary>
    public Mapping? FindMapping(ulong iova) => _mappings.AtIova(iova);

    /// <summary>
    /// Describes a piece of this process's memory as the device sees it: a scatter list. Pieces that follow each other become one. Allocates nothing.
    /// </summary>
    /// <param name="address">The first byte.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="segments">Filled.</param>
    /// <param name="maximum">Most bytes of one segment, for devices that have a limit.</param>
    /// <returns>How many segments; -1 when a byte is not mapped or the segments do not suffice.</returns>
    public int GetSegments(nint address, ulong length, Span<DmaSegment> segments, ulong maximum = ulong.MaxValue)
    {
        ArgumentOutOfRangeException.ThrowIfZero(maximum);
        int count = 0;
        while (length > 0)
        {
            if (_mappings.AtAddress(address) is not { } mapping)
            {
                return -1;
            }

            ulong offset = (ulong)address - mapping.Address;
            ulong piece = Math.Min(length, mapping.Length - offset), iova = mapping.Iova + offset;
            address += (nint)piece;
            length -= piece;
            if (count > 0 && segments[count - 1].Iova + segments[count - 1].Length == iova)
            {
                ulong grown = Math.Min(piece, maximum - segments[count - 1].Length);
                segments[count - 1] = segments[count - 1] with { Length = segments[count - 1].Length + grown };
                iova += grown;
                piece -= grown;
            }

            while (piece > 0)
            {
                if (count == segments.Length)
                {
                    return -1;
                }

                ulong part = Math.Min(piece, maximum);
                segments[count++] = new DmaSegment(iova, part);
                iova += part;
                piece -= part;
            }
        }

        return count;
    }

    /// <summary>
    /// Maps a whole buffer at an IOVA inside an aperture, for devices that cannot form every address (32-bit DMA: 0 to 0xffffffff).
    /// </summary>
    /// <exception cref="IommuFdException">ENOSPC the aperture has no room left; else as <see cref="Map(DmaBuffer, DmaAccess)"/>.</exception>
    public Mapping MapWithin(DmaBuffer buffer, DmaAccess access, IovaRange aperture)
    {
        ArgumentNullException.ThrowIfNull(buffer);
        IovaAllocator allocator = new(PermittedRanges, aperture);
        foreach (Mapping mapping in _mappings.ToArray())
        {
            allocator.Reserve(new IovaRange(mapping.Iova, mapping.Iova + (mapping.Length - 1)));
        }

        // What others mapped through the kernel object is not known here: the kernel says so, and the next place is tried.
        while (allocator.TryAllocate(buffer.Length, Math.Max(Alignment, AlignmentOf(buffer)), out ulong iova))
        {
            try
            {
                return MapFixed(buffer, access, iova);
            }
            catch (IommuFdException taken) when (taken.Cause == FailureCause.IovaTaken)
            {
                continue;
            }
        }

        throw Failure.Because(
            Backend.MapCommand, Errno.ENOSPC, FailureCause.NoIovaSpace, "the aperture has no free IOVA range of this size", "Unmap something.",
            Evidence.Hex("length", buffer.Length), new Evidence("aperture", aperture.ToString()));
    }

    // Large pages need IOVA and memory aligned alike.
    private static ulong AlignmentOf(DmaBuffer buffer) => buffer.PageSize;
}
