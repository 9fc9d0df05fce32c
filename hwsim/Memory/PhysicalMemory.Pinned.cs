namespace IommuFd.HwSim;

// SAFETY: a pointer into pinned memory is given out only while every page of the range is pinned; the one who pinned it vouches for the host memory.
public sealed unsafe partial class PhysicalMemory
{
    internal const ulong WindowSize = 1 << 30;

    private readonly Dictionary<nint, int> _windowOfHost = [];
    private PinnedWindow?[] _windows;
    private int _windowCount;
    private readonly ScatteredFrames _scattered = new();

    /// <summary>
    /// Makes user memory part of physical memory, as pinning it does. A page that is pinned twice has one physical address and must be unpinned
    /// twice.
    /// </summary>
    /// <param name="host">Page-aligned host address; the caller vouches that the memory stays mapped while it is pinned.</param>
    /// <param name="length">Bytes, a multiple of 4096.</param>
    /// <returns>False when the range is misaligned or empty, or no physical address is left; then nothing is pinned.</returns>
    public bool Pin(void* host, ulong length)
    {
        var first = (ulong)host;
        if (first % PageSize != 0 || length % PageSize != 0 || length == 0 || first + length < first)
            return false;
        lock (_gate)
        {
            if (Options.Scattered)
                return _scattered.Pin(first, length, Options);
            var lastWindow = (first + length - 1) / WindowSize;
            for (var w = first / WindowSize; w <= lastWindow; w++)
            {
                if (!EnsureWindow((nint)w))
                    return false;
            }

            for (ulong done = 0; done < length;)
            {
                var inWindow = Math.Min(length - done, WindowSize - ((first + done) % WindowSize));
                WindowOf(first + done)!.Pin(PageInWindow(first + done), (int)(inWindow / PageSize));
                done += inWindow;
            }

            return true;
        }
    }

    /// <summary>Takes back one <see cref="Pin"/> of every page of the range; the range may be a part of what was pinned at once.</summary>
    /// <param name="host">Page-aligned host address.</param>
    /// <param name="length">Bytes, a multiple of 4096.</param>
    /// <returns>False when a page of the range is not pinned; then nothing is unpinned.</returns>
    public bool Unpin(void* host, ulong length)
    {
        var first = (ulong)host;
        lock (_gate)
        {
            if (!IsPinned(first, length))
                return false;
            if (Options.Scattered)
            {
                _scattered.Unpin(first, length);
                return true;
            }

            for (ulong done = 0; done < length;)
            {
                var inWindow = Math.Min(length - done, WindowSize - ((first + done) % WindowSize));
                WindowOf(first + done)!.Unpin(PageInWindow(first + done), (int)(inWindow / PageSize));
                done += inWindow;
            }

            return true;
        }
    }

    /// <summary>The physical address of pinned user memory, and how far it stays contiguous.</summary>
    /// <param name="host">Host address, any alignment.</param>
    /// <param name="length">Bytes of interest.</param>
    /// <param name="run">The contiguous piece that begins at <paramref name="host"/>, at most <paramref name="length"/> long.</param>
    /// <returns>False when the first page is not pinned. Later pages of the piece are not checked: ask for what was pinned.</returns>
    public bool TryGetRun(void* host, ulong length, out PhysicalRun run)
    {
        var first = (ulong)host;
        run = default;
        lock (_gate)
        {
            if (!IsPinned(first & ~(PageSize - 1), PageSize))
                return false;
            if (Options.Scattered)
            {
                run = new PhysicalRun(_scattered.AddressOf(first), Math.Min(length, PageSize - (first % PageSize)));
                return true;
            }

            var index = _windowOfHost[(nint)(first / WindowSize)];
            var address = AddressOfWindow(index) + (first % WindowSize);
            var contiguous = WindowSize - (first % WindowSize);
            while (contiguous < length && _windowOfHost.TryGetValue((nint)((first + contiguous) / WindowSize), out var next) && next == ++index)
                contiguous += WindowSize;
            run = new PhysicalRun(address, Math.Min(length, contiguous));
            return true;
        }
    }

    /// <summary>How often the page at a host address is pinned.</summary>
    /// <param name="host">Host address, any alignment.</param>
    public int PinCount(void* host)
    {
        var page = (ulong)host & ~(PageSize - 1);
        lock (_gate)
        {
            return Options.Scattered ? _scattered.PinCount(page) : WindowOf(page)?.PinCount(PageInWindow(page)) ?? 0;
        }
    }

    private bool IsPinned(ulong first, ulong length)
    {
        if (first % PageSize != 0 || length % PageSize != 0 || length == 0 || first + length < first)
            return false;
        if (Options.Scattered)
            return _scattered.IsPinned(first, length);
        for (ulong done = 0; done < length;)
        {
            var inWindow = Math.Min(length - done, WindowSize - ((first + done) % WindowSize));
            if (WindowOf(first + done) is not { } window || !window.Covers(PageInWindow(first + done), (int)(inWindow / PageSize)))
                return false;
            done += inWindow;
        }

        return true;
    }

    private bool EnsureWindow(nint hostWindow)
    {
        if (_windowOfHost.ContainsKey(hostWindow))
            return true;
        if (AddressOfWindow(_windowCount) >= 1UL << Options.AddressBits)
            return false;
        if (_windowCount == _windows.Length)
        {
            var larger = new PinnedWindow?[_windows.Length * 2];
            _windows.CopyTo(larger, 0);
            Volatile.Write(ref _windows, larger);
        }

        _windows[_windowCount] = new PinnedWindow((nint)((ulong)hostWindow * WindowSize));
        _windowOfHost.Add(hostWindow, _windowCount++);
        return true;
    }

    private ulong AddressOfWindow(int index) => Options.PinnedBase + ((ulong)index * WindowSize);

    private PinnedWindow? WindowOf(ulong host) => _windowOfHost.TryGetValue((nint)(host / WindowSize), out var index) ? _windows[index] : null;

    private static int PageInWindow(ulong host) => (int)(host % WindowSize / PageSize);

    private byte* TryGetPinned(ulong address, ulong length)
    {
        var offset = address - Options.PinnedBase;
        if (address < Options.PinnedBase || length == 0)
            return null;
        if (Options.Scattered)
            return _scattered.TryGet(offset, length);
        var windows = _windows;
        var index = offset / WindowSize;
        var inWindow = offset % WindowSize;
        if (index >= (ulong)windows.Length || length > WindowSize - inWindow || windows[index] is not { } window)
            return null;
        var firstPage = (int)(inWindow / PageSize);
        var lastPage = (int)((inWindow + length - 1) / PageSize);
        return window.Covers(firstPage, lastPage - firstPage + 1) ? (byte*)window.Host + inWindow : null;
    }

    private void FreePinned()
    {
        _windowOfHost.Clear();
        _windows = [];
        _scattered.Clear();
    }
}
