namespace IommuFd.HwSim.Kernel;

/// <summary>Pages of a dma-buf: memory of a device, which its exporter can take back at any time.</summary>
internal sealed class DmaBufPages
{
    private readonly SimulatedDmaBuf _buffer;
    private readonly Lock _lock = new();
    private readonly List<(IoptArea Area, IommuDomain Domain, ulong Iova, ulong Length)> _tracks = [];
    private bool _isRevoked;

    internal DmaBufPages(SimulatedDmaBuf buffer, ulong offset)
    {
        _buffer = buffer;
        Offset = offset;
    }

    internal ulong Physical => _buffer.Physical;

    /// <summary>Byte of the buffer at which page 0 begins.</summary>
    internal ulong Offset { get; }

    internal bool IsRevoked
    {
        get
        {
            lock (_lock)
            {
                return _isRevoked;
            }
        }
    }

    /// <summary>An area is in a domain now; a buffer that was taken back in between goes out again.</summary>
    internal void Track(IoptArea area, IommuDomain domain)
    {
        lock (_lock)
        {
            _tracks.Add((area, domain, area.Iova, area.Length));
        }
    }

    internal void Untrack(IoptArea area, IommuDomain domain)
    {
        lock (_lock)
        {
            _tracks.RemoveAll(t => t.Area == area && t.Domain == domain);
        }
    }

    /// <summary>iopt_revoke_notify: the exporter takes the buffer back. The pages' monitor is held by the caller.</summary>
    internal void Revoke()
    {
        lock (_lock)
        {
            if (_isRevoked)
            {
                return;
            }

            foreach (var (_, domain, iova, length) in _tracks)
            {
                domain.Unmap(iova, length);
            }

            _isRevoked = true;
        }
    }

    internal void Close(IoptPages pages)
    {
        _buffer.Detach(pages);
        _buffer.Put();
    }
}
