using System.Runtime.InteropServices;

namespace IommuFd.HwSim;

/// <summary>
/// One GiB of host address space and how often each of its pages is pinned. A pin that covers the whole window, or a whole 2 MiB block of it, is
/// counted once for all of its pages, so that pinning 256 GiB costs 256 additions and no memory per page.
/// </summary>
internal sealed class PinnedWindow(nint host)
{
    internal const int PagesPerBlock = 512, BlocksPerWindow = 512;
    private const int PagesPerWindow = PagesPerBlock * BlocksPerWindow;

    private readonly int[] _blocks = new int[BlocksPerWindow];
    private readonly ushort[]?[] _pages = new ushort[BlocksPerWindow][];
    private int _whole;

    /// <summary>Host address of the window's first byte, a multiple of 1 GiB.</summary>
    internal nint Host { get; } = host;

    /// <summary>True when pages [first, first + count) are all pinned.</summary>
    internal bool Covers(int first, int count)
    {
        if (_whole > 0)
            return true;
        for (var end = first + count; first < end;)
        {
            var block = first / PagesPerBlock;
            var blockEnd = Math.Min(end, (block + 1) * PagesPerBlock);
            if (_blocks[block] == 0)
            {
                var pages = _pages[block];
                if (pages == null || pages.AsSpan(first % PagesPerBlock, blockEnd - first).Contains((ushort)0))
                    return false;
            }

            first = blockEnd;
        }

        return true;
    }

    internal int PinCount(int page) => _whole + _blocks[page / PagesPerBlock] + (_pages[page / PagesPerBlock]?[page % PagesPerBlock] ?? 0);

    internal void Pin(int first, int count)
    {
        if (count == PagesPerWindow)
        {
            _whole++;
            return;
        }

        for (var end = first + count; first < end;)
        {
            var block = first / PagesPerBlock;
            var blockEnd = Math.Min(end, (block + 1) * PagesPerBlock);
            if (blockEnd - first == PagesPerBlock)
                _blocks[block]++;
            else
                Add(block, first % PagesPerBlock, blockEnd - first);
            first = blockEnd;
        }
    }

    /// <summary>
    /// Undoes one pin of pages [first, first + count), which <see cref="Covers"/> was true for; the pieces need not be those that were pinned.
    /// </summary>
    internal void Unpin(int first, int count)
    {
        if (_whole > 0)
        {
            _whole--;
            if (count == PagesPerWindow)
                return;
            foreach (ref var blocks in _blocks.AsSpan())
                blocks++;
        }

        for (var end = first + count; first < end;)
        {
            var block = first / PagesPerBlock;
            var blockEnd = Math.Min(end, (block + 1) * PagesPerBlock);
            UnpinInBlock(block, first % PagesPerBlock, blockEnd - first);
            first = blockEnd;
        }
    }

    private void UnpinInBlock(int block, int first, int count)
    {
        var pages = _pages[block];
        if (count == PagesPerBlock && _blocks[block] > 0)
        {
            _blocks[block]--;
            return;
        }

        if (pages == null || pages.AsSpan(first, count).Contains((ushort)0))
        {
            // Part of a whole-block pin is taken back: the block's other pages keep theirs one by one.
            _blocks[block]--;
            Add(block, 0, first);
            Add(block, first + count, PagesPerBlock - first - count);
            return;
        }

        foreach (ref var page in pages.AsSpan(first, count))
            page--;
    }

    private void Add(int block, int first, int count)
    {
        if (count == 0)
            return;
        var pages = _pages[block] ??= new ushort[PagesPerBlock];
        foreach (ref var page in pages.AsSpan(first, count))
            page++;
    }
}
