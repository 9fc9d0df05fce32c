using System.Runtime.InteropServices;
using IommuFd.Native;

namespace IommuFd;

/// <summary>A part of a memfd or dma-buf that has an IOVA. The kernel keeps the memory; a dma-buf of a BAR is revoked when its device's memory
/// decoding goes off, and has to be mapped again then.</summary>
public sealed class FileMapping : Resource
{
    private readonly IoAddressSpace _space;

    internal FileMapping(IoAddressSpace space, Resource? peer, ulong iova, ulong length, DmaAccess access)
        : base(space, peer)
    {
        _space = space;
        Iova = iova;
        Length = length;
        Access = access;
    }

    /// <summary>What a device uses as the address of the first byte.</summary>
    public ulong Iova { get; }

    /// <summary>Bytes.</summary>
    public ulong Length { get; }

    /// <summary>What devices may do.</summary>
    public DmaAccess Access { get; }

    private protected override void Free()
    {
        _space.Forget(this);
        _ = _space.Unmap(Iova, Length);
    }
}

/// <content>Memory that has a descriptor.</content>
public sealed partial class IoAddressSpace
{
    private readonly Lock _filesGate = new();
    private readonly SortedList<ulong, FileMapping> _files = [];

    /// <summary>Maps a part of a memfd or dma-buf.</summary>
    /// <param name="file">Its descriptor; may be closed afterwards.</param>
    /// <param name="start">Where the part starts, in bytes.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="access">What devices may do.</param>
    /// <param name="iova">Where, or null to let the kernel choose.</param>
    /// <exception cref="IommuFdException">EBADF neither a memfd nor a dma-buf, EINVAL alignment or IOVA, EEXIST something is mapped
    /// there.</exception>
    public FileMapping MapFile(SafeHandle file, ulong start, ulong length, DmaAccess access, ulong? iova = null) =>
        MapFile(file, null, start, length, access, iova);

    /// <summary>Maps a part of another device's BAR: peer-to-peer DMA. Kernel 6.19 or newer, memory decoding of the peer on.</summary>
    /// <param name="peer">The device whose BAR it is; it stays bound as long as the mapping.</param>
    /// <param name="bar">0..5.</param>
    /// <param name="area">The part, page-aligned.</param>
    /// <param name="access">What devices may do.</param>
    /// <exception cref="IommuFdException">ENOTTY the kernel exports no BARs, EINVAL the part or the topology does not allow it.</exception>
    public FileMapping MapBar(BoundDevice peer, int bar, RegionArea area, DmaAccess access)
    {
        ArgumentNullException.ThrowIfNull(peer);
        peer.Enter();
        try
        {
            using DmaBufHandle file = peer.Calls.ExportDmaBuf((uint)bar, area);
            return MapFile(file, peer, 0, area.Length, access, null);
        }
        catch
        {
            peer.Exit();
            throw;
        }
    }

    private FileMapping MapFile(SafeHandle file, Resource? peer, ulong start, ulong length, DmaAccess access, ulong? iova)
    {
        Enter();
        try
        {
            FileMapping mapping = new(this, peer, Ioas.MapFile(file, start, length, access, iova), length, access);
            lock (_filesGate)
            {
                _files.Add(mapping.Iova, mapping);
            }

            int result = HasChildren ? MappedForChildren(mapping.Iova, length) : 0;
            if (result < 0)
            {
                Forget(mapping);
                _ = Unmap(mapping.Iova, length);
                throw Failure.Of(Backend.CopyCommand, result, Evidence.Hex("iova", mapping.Iova), Evidence.Hex("length", length),
                    new Evidence("in", "a child of the space"));
            }

            return mapping;
        }
        catch
        {
            Exit();
            throw;
        }
    }

    internal void Forget(FileMapping mapping)
    {
        lock (_filesGate)
        {
            _ = _files.Remove(mapping.Iova);
        }
    }

    private SpacePiece? NextFilePiece(ulong first, ulong last)
    {
        lock (_filesGate)
        {
            foreach (FileMapping file in _files.Values)
            {
                if (file.Iova <= last && file.Iova + (file.Length - 1) >= first)
                {
                    return new SpacePiece(file.Iova, file.Length, 0, file.Access).Within(first, last);
                }
            }

            return null;
        }
    }
}
