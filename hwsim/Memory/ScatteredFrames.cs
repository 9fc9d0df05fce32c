namespace IommuFd.HwSim;

/// <summary>
/// Scattered mode: every pinned page has a 4 KiB frame of its own, drawn in an order that puts no two successive pages side by side.
/// </summary>
internal sealed unsafe class ScatteredFrames
{
    private const ulong PageSize = PhysicalMemory.PageSize;
    private readonly Dictionary<ulong, (uint Frame, int Pins)> _frameOfPage = [];
    private readonly Stack<uint> _freed = [];
    private nint[] _hostOfFrame = [];
    private uint _drawn;
    private ulong _base;

    internal bool Pin(ulong first, ulong length, PhysicalMemoryOptions options)
    {
        if (_hostOfFrame.Length == 0)
        {
            _base = options.PinnedBase;
            _hostOfFrame = new nint[1 << 20];
        }

        for (ulong done = 0; done < length; done += PageSize)
        {
            if (_frameOfPage.TryGetValue(first + done, out var page))
            {
                _frameOfPage[first + done] = (page.Frame, page.Pins + 1);
            }
            else if (TryDraw(options.Seed, out var frame))
            {
                _frameOfPage.Add(first + done, (frame, 1));
                Volatile.Write(ref _hostOfFrame[frame], (nint)(first + done));
            }
            else
            {
                Unpin(first, done);
                return false;
            }
        }

        return true;
    }

    internal void Unpin(ulong first, ulong length)
    {
        for (ulong done = 0; done < length; done += PageSize)
        {
            var (frame, pins) = _frameOfPage[first + done];
            if (pins > 1)
            {
                _frameOfPage[first + done] = (frame, pins - 1);
                continue;
            }

            _frameOfPage.Remove(first + done);
            Volatile.Write(ref _hostOfFrame[frame], 0);
            _freed.Push(frame);
        }
    }

    internal int PinCount(ulong page) => _frameOfPage.TryGetValue(page, out var entry) ? entry.Pins : 0;

    internal bool IsPinned(ulong first, ulong length)
    {
        for (ulong done = 0; done < length; done += PageSize)
        {
            if (!_frameOfPage.ContainsKey(first + done))
                return false;
        }

        return true;
    }

    internal ulong AddressOf(ulong host) => _base + (_frameOfPage[host & ~(PageSize - 1)].Frame * PageSize) + (host % PageSize);

    // SAFETY: one frame only, whose page is pinned.
    internal byte* TryGet(ulong offset, ulong length)
    {
        var hosts = _hostOfFrame;
        var frame = offset / PageSize;
        if (frame >= (ulong)hosts.Length || length > PageSize - (offset % PageSize))
            return null;
        var host = Volatile.Read(ref hosts[frame]);
        return host == 0 ? null : (byte*)host + (offset % PageSize);
    }

    internal void Clear()
    {
        _frameOfPage.Clear();
        _hostOfFrame = [];
    }

    // An odd multiplier is a permutation of the frame numbers; this one moves successive draws far apart.
    private bool TryDraw(ulong seed, out uint frame)
    {
        if (_freed.TryPop(out frame))
            return true;
        if (_drawn == _hostOfFrame.Length)
            return false;
        frame = (uint)((_drawn++ * 0x9E3779B1UL + seed) & (ulong)(_hostOfFrame.Length - 1));
        return true;
    }
}
