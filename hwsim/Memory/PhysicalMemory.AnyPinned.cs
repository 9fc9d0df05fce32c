namespace IommuFd.HwSim;

public sealed unsafe partial class PhysicalMemory
{
    /// <summary>True when a page of the host's range is pinned.</summary>
    /// <param name="first">Host address, a multiple of the page size.</param>
    /// <param name="length">Bytes.</param>
    internal bool IsAnyPinned(ulong first, ulong length)
    {
        lock (_gate)
        {
            for (ulong done = 0; done < length;)
            {
                if (Options.Scattered)
                {
                    if (_scattered.PinCount(first + done) != 0)
                        return true;
                    done += PageSize;
                    continue;
                }

                var inWindow = Math.Min(length - done, WindowSize - ((first + done) % WindowSize));
                if (WindowOf(first + done) is { } window)
                {
                    for (ulong at = 0; at < inWindow; at += PageSize)
                    {
                        if (window.PinCount(PageInWindow(first + done + at)) != 0)
                            return true;
                    }
                }

                done += inWindow;
            }

            return false;
        }
    }
}
