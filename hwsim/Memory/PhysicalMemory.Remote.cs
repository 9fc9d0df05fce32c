namespace IommuFd.HwSim;

/// <summary>Memory of other processes: reached by copies, never by a pointer.</summary>
internal unsafe interface IRemoteMemory
{
    /// <summary>Copies from it.</summary>
    /// <param name="token">What was pinned: an address with its sign bit set, whose other bits are this object's business.</param>
    /// <param name="destination">Room for <paramref name="length"/> bytes.</param>
    /// <param name="length">Bytes.</param>
    /// <returns>False when it is not there any more.</returns>
    bool Read(nint token, void* destination, ulong length);

    /// <summary>Copies to it.</summary>
    /// <inheritdoc cref="Read"/>
    bool Write(nint token, void* source, ulong length);
}

// SAFETY: a pinned "address" with the sign bit set is a token of remote memory; it is handed to Remote and never dereferenced.
public sealed unsafe partial class PhysicalMemory
{
    /// <summary>Where pinned memory of other processes is. What is pinned under a negative host address belongs to it.</summary>
    /// <remarks>Does not model: page tables in the memory of another process; a walker needs a pointer and finds no memory there.</remarks>
    internal IRemoteMemory? Remote { get; set; }

    /// <summary>Copies at a host address that is pinned, or at a token of <see cref="Remote"/>.</summary>
    internal bool CopyHost(nint host, void* data, ulong length, bool write)
    {
        if (host < 0)
        {
            return Remote is { } remote && (write ? remote.Write(host, data, length) : remote.Read(host, data, length));
        }

        MemoryCopy.Copy(write ? (void*)host : data, write ? data : (void*)host, length);
        return true;
    }

    private bool ReadRemote(ulong address, void* destination, ulong length) =>
        Remote is { } remote && (nint)TryGetPinned(address, length) is < 0 and var token && remote.Read(token, destination, length);

    private bool WriteRemote(ulong address, void* source, ulong length) =>
        Remote is { } remote && (nint)TryGetPinned(address, length) is < 0 and var token && remote.Write(token, source, length);

    // What surely lies in one placement: to the end of the window, or of the frame in scattered mode.
    private ulong RemotePiece(ulong address, ulong length)
    {
        var unit = Options.Scattered ? PageSize : WindowSize;
        return Math.Min(length, unit - (address % unit));
    }
}
