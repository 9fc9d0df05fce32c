namespace IommuFd.HwSim.Kernel;

/// <summary>
/// How often each page of a range is covered, as disjoint segments: which pages become covered with an addition and which cease to be with a removal.
/// </summary>
internal sealed class CoverCount
{
    private readonly List<Segment> _segments = [];

    private record struct Segment(ulong First, ulong Last, int Count);

    /// <summary>Pages covered at least once.</summary>
    internal ulong Pages { get; private set; }

    /// <summary>
    /// The first run of pages of [<paramref name="first"/>, <paramref name="last"/>] that nothing covers. False when all are covered.
    /// </summary>
    internal bool NextUncovered(ulong first, ulong last, out ulong runFirst, out ulong runLast)
    {
        runFirst = first;
        runLast = last;
        for (var at = Find(first); at < _segments.Count && _segments[at].First <= last; at++)
        {
            if (_segments[at].First > runFirst)
            {
                runLast = _segments[at].First - 1;
                return true;
            }

            if (_segments[at].Last >= last)
            {
                return false;
            }

            runFirst = _segments[at].Last + 1;
        }

        return true;
    }

    /// <summary>Covers the range once more.</summary>
    internal void Add(ulong first, ulong last)
    {
        var at = Find(first);
        while (true)
        {
            if (at == _segments.Count || _segments[at].First > last)
            {
                Insert(at, first, last, 1);
                return;
            }

            if (_segments[at].First > first)
            {
                Insert(at, first, _segments[at].First - 1, 1);
                at++;
            }
            else if (_segments[at].First < first)
            {
                Split(at, first);
                at++;
            }

            var segment = _segments[at];
            if (segment.Last > last)
            {
                Split(at, last + 1);
                segment = _segments[at];
            }

            _segments[at] = segment with { Count = segment.Count + 1 };
            if (segment.Last == last)
            {
                return;
            }

            first = segment.Last + 1;
            at++;
        }
    }

    /// <summary>
    /// Takes one cover of the range away; every page of it is covered. Unpins the pages that nothing covers afterwards and returns how many they are.
    /// </summary>
    internal ulong Remove(ulong first, ulong last, IoptPages owner, PhysicalMemory memory)
    {
        ulong uncovered = 0;
        var at = Find(first);
        if (_segments[at].First < first)
        {
            Split(at, first);
            at++;
        }

        while (at < _segments.Count && _segments[at].First <= last)
        {
            if (_segments[at].Last > last)
            {
                Split(at, last + 1);
            }

            var segment = _segments[at];
            if (segment.Count > 1)
            {
                _segments[at++] = segment with { Count = segment.Count - 1 };
                continue;
            }

            _segments.RemoveAt(at);
            uncovered += segment.Last - segment.First + 1;
            owner.UnpinRun(memory, segment.First, segment.Last);
        }

        Pages -= uncovered;
        return uncovered;
    }

    private void Insert(int at, ulong first, ulong last, int count)
    {
        _segments.Insert(at, new Segment(first, last, count));
        Pages += last - first + 1;
    }

    private void Split(int at, ulong first)
    {
        var segment = _segments[at];
        _segments[at] = segment with { Last = first - 1 };
        _segments.Insert(at + 1, segment with { First = first });
    }

    // The first segment that ends at or above a page.
    private int Find(ulong page)
    {
        int low = 0, high = _segments.Count;
        while (low < high)
        {
            var middle = (low + high) >>> 1;
            if (_segments[middle].Last < page)
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
