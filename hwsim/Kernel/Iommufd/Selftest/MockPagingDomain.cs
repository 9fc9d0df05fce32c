using System.Numerics;
using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// The mock driver's table: a list of runs, and the pages of them that a test made dirty. Pages are the largest powers of two that fit.
/// </summary>
internal sealed class MockPagingDomain : MockDomain
{
    private readonly Lock _lock = new();

    // By first IOVA.
    private readonly List<Run> _runs = [];
    private readonly HashSet<ulong> _dirty = [];

    internal MockPagingDomain(MockOps owner, bool isHuge, bool tracksDirty)
        : base(IommuDomainType.Unmanaged, owner)
    {
        // AMDv1 takes every power of two; three levels with items of 2 KiB end below 128 GiB.
        PageSizeBitmap = isHuge ? iommu_test_cmd.MOCK_HUGE_PAGE_SIZE | IoptPages.PageSize : (1UL << 37) - (1UL << 11);
        HasDirtyTracking = tracksDirty;
        ApertureEnd = (1UL << 56) - 1;
        if (!isHuge)
        {
            ApertureStart = iommu_test_cmd.MOCK_APERTURE_START;
            ApertureEnd = iommu_test_cmd.MOCK_APERTURE_LAST;
        }
    }

    private readonly record struct Run(ulong Iova, ulong Last, ulong Physical);

    public override bool HasDirtyTracking { get; }

    internal bool IsTracking { get; private set; }

    public override int Map(ulong iova, ulong physical, ulong size, IommuProt prot)
    {
        lock (_lock)
        {
            _runs.Insert(Find(iova), new Run(iova, iova + size - 1, physical));
            return 0;
        }
    }

    public override ulong Unmap(ulong iova, ulong size)
    {
        lock (_lock)
        {
            var last = iova + size - 1;
            var at = Find(iova);
            while (at < _runs.Count && _runs[at].Iova <= last)
            {
                var run = _runs[at];
                for (var page = ulong.Max(run.Iova, iova); page < ulong.Min(run.Last, last);)
                {
                    var (first, length) = PageAt(run, page);
                    _dirty.Remove(first);
                    page = first + length;
                }

                _runs.RemoveAt(at);
                if (run.Iova < iova)
                {
                    _runs.Insert(at++, run with { Last = iova - 1 });
                }

                if (run.Last > last)
                {
                    _runs.Insert(at++, new Run(last + 1, run.Last, run.Physical + (last + 1 - run.Iova)));
                }
            }

            return size;
        }
    }

    public override ulong IovaToPhys(ulong iova)
    {
        lock (_lock)
        {
            return TryFind(iova, out var run) ? run.Physical + (iova - run.Iova) : 0;
        }
    }

    public override int SetDirtyTracking(bool enable)
    {
        IsTracking = enable;
        return 0;
    }

    public override int ReadAndClearDirty(ulong iova, ulong length, bool noClear, DirtyBitmap? dirty)
    {
        if (!HasDirtyTracking)
        {
            return -Errno.EOPNOTSUPP;
        }

        lock (_lock)
        {
            var last = iova + length - 1;
            for (var at = Find(iova); at < _runs.Count && _runs[at].Iova <= last; at++)
            {
                for (var page = ulong.Max(_runs[at].Iova, iova); page <= ulong.Min(_runs[at].Last, last);)
                {
                    var (first, size) = PageAt(_runs[at], page);
                    if (_dirty.Contains(first))
                    {
                        dirty?.Record(first, size);
                        if (!noClear)
                        {
                            _dirty.Remove(first);
                        }
                    }

                    page = first + size;
                }
            }

            return 0;
        }
    }

    /// <summary>A test plays the device that wrote.</summary>
    internal void SetDirty(ulong iova)
    {
        lock (_lock)
        {
            if (TryFind(iova, out var run))
            {
                _dirty.Add(PageAt(run, iova).First);
            }
        }
    }

    // The page of a run that holds an IOVA: pages are laid from the run's start, each the largest that addresses and the rest allow.
    private (ulong First, ulong Size) PageAt(in Run run, ulong iova)
    {
        for (var first = run.Iova; ;)
        {
            var address = first | (run.Physical + (first - run.Iova)) | (1UL << 63);
            var left = run.Last - first + 1;
            var limit = ulong.Min(address & (0 - address), 1UL << BitOperations.Log2(left));
            var fitting = PageSizeBitmap & ((limit - 1) | limit);
            var size = 1UL << BitOperations.Log2(fitting);
            if (iova - first < size)
            {
                return (first, size);
            }

            first += size;
        }
    }

    private bool TryFind(ulong iova, out Run run)
    {
        var at = Find(iova);
        run = at < _runs.Count ? _runs[at] : default;
        return at < _runs.Count && run.Iova <= iova;
    }

    private int Find(ulong iova)
    {
        int low = 0, high = _runs.Count;
        while (low < high)
        {
            var middle = (low + high) >>> 1;
            if (_runs[middle].Last < iova)
            {
                low = middle + 1;
            }
            else
            {
                high = middle;
            }
        }

        return low;
    }
}
