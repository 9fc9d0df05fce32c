using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>Areas, pages and lists that were used and are used again: mapping and unmapping allocates nothing once the pools are warm.</summary>
public sealed partial class IommufdContext
{
    private readonly Pool<IoptArea> _areaPool = new();
    private readonly Pool<IoptPages> _pagesPool = new();
    private readonly Pool<List<IoPagetable.PagesSlice>> _slicesPool = new();

    internal IoptArea NewArea() => _areaPool.Rent() ?? new IoptArea();

    internal void FreeArea(IoptArea area)
    {
        area.Reset();
        _areaPool.Return(area);
    }

    /// <summary>iopt_alloc_pages: -EINVAL for an empty or an impossible length.</summary>
    internal int NewPages(IPageSource source, ulong address, ulong startByte, ulong length, bool writable, out IoptPages? pages)
    {
        pages = null;
        if (length > ulong.MaxValue - IoptPages.PageSize || length == 0)
        {
            return -Errno.EINVAL;
        }

        pages = _pagesPool.Rent() ?? new IoptPages();
        pages.Init(source, address, (length + startByte + IoptPages.PageSize - 1) / IoptPages.PageSize, writable);
        if (_accountMode == AccountMode.Process && pages.Mode == AccountMode.User)
        {
            pages.Mode = AccountMode.Process;
        }

        return 0;
    }

    /// <summary>iopt_put_pages.</summary>
    internal void PutPages(IoptPages pages)
    {
        if (Interlocked.Decrement(ref pages.References) != 0)
        {
            return;
        }

        pages.Extra?.Release(pages);
        pages.Source = null!;
        _pagesPool.Return(pages);
    }

    internal void PutSlices(List<IoPagetable.PagesSlice> slices)
    {
        foreach (var slice in slices)
        {
            PutPages(slice.Pages);
        }

        slices.Clear();
    }

    private List<IoPagetable.PagesSlice> RentSlices() => _slicesPool.Rent() ?? [];

    private void ReturnSlices(List<IoPagetable.PagesSlice> slices)
    {
        slices.Clear();
        _slicesPool.Return(slices);
    }

    private sealed class Pool<T>
        where T : class
    {
        // More than this many free objects are left to the collector.
        private const int Most = 1 << 16;

        private readonly Lock _lock = new();
        private T?[] _free = new T[16];
        private int _count;

        internal T? Rent()
        {
            lock (_lock)
            {
                if (_count == 0)
                {
                    return null;
                }

                var item = _free[--_count];
                _free[_count] = null;
                return item;
            }
        }

        internal void Return(T item)
        {
            lock (_lock)
            {
                if (_count == _free.Length)
                {
                    if (_count == Most)
                    {
                        return;
                    }

                    Array.Resize(ref _free, _count * 2);
                }

                _free[_count++] = item;
            }
        }
    }
}
