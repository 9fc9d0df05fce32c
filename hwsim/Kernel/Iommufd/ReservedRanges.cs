namespace IommuFd.HwSim.Kernel;

/// <summary>
/// The IOVAs of an address space that cannot be mapped, each with its owner: a device, a domain's aperture, a test. Ranges may overlap.
/// </summary>
internal sealed class ReservedRanges
{
    // Few and rarely changed; sorted by first IOVA.
    private readonly List<Range> _ranges = [];

    private readonly record struct Range(ulong First, ulong Last, object Owner);

    internal bool IsEmpty => _ranges.Count == 0;

    internal void Add(ulong first, ulong last, object owner)
    {
        var at = _ranges.FindIndex(r => r.First > first);
        _ranges.Insert(at < 0 ? _ranges.Count : at, new Range(first, last, owner));
    }

    /// <summary>Takes away everything of one owner. Returns true when there was something.</summary>
    internal bool Remove(object owner) => _ranges.RemoveAll(r => r.Owner == owner) != 0;

    internal bool Intersects(ulong first, ulong last)
    {
        foreach (var range in _ranges)
        {
            if (range.First > last)
            {
                return false;
            }

            if (range.Last >= first)
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>The first run of IOVAs at or above <paramref name="from"/> that nothing reserves. False when there is none.</summary>
    internal bool NextHole(ulong from, out ulong first, out ulong last)
    {
        first = from;
        last = ulong.MaxValue;
        foreach (var range in _ranges)
        {
            if (range.First > first)
            {
                last = range.First - 1;
                return true;
            }

            if (range.Last < first)
            {
                continue;
            }

            if (range.Last == ulong.MaxValue)
            {
                return false;
            }

            first = range.Last + 1;
        }

        return true;
    }
}
