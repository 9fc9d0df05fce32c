namespace IommuFd.HwSim.Kernel;

/// <summary>What another map that is made from this one has to know.</summary>
internal sealed partial class IoPagetable
{
    /// <summary>The part of the first area in a range that lies in the range. False when there is none.</summary>
    internal bool NextArea(ulong first, ulong last, out ulong start, out ulong end, out IommuProt prot)
    {
        lock (_lock)
        {
            if (_areas.First(first, last) is not { } area)
            {
                start = end = 0;
                prot = IommuProt.None;
                return false;
            }

            start = ulong.Max(first, area.Iova);
            end = ulong.Min(last, area.LastIova);
            prot = area.Prot;
            return true;
        }
    }

    /// <summary>True when an area lies partly in a range and partly outside.</summary>
    internal bool Cuts(ulong first, ulong last)
    {
        lock (_lock)
        {
            return (_areas.First(first, first) is { } head && head.Iova < first) || (_areas.First(last, last) is { } tail && tail.LastIova > last);
        }
    }

    /// <summary>Reports what was written through a domain in a range; gaps are skipped.</summary>
    internal void ReadDirty(IommuDomain domain, ulong first, ulong last, bool noClear, DirtyBitmap dirty)
    {
        lock (_lock)
        {
            for (var at = first; _areas.First(at, last) is { } area; at = area.LastIova + 1)
            {
                var (start, end) = (ulong.Max(at, area.Iova), ulong.Min(last, area.LastIova));
                if (domain.ReadAndClearDirty(start, end - start + 1, noClear, dirty) != 0 || end == last)
                {
                    return;
                }
            }
        }
    }

    /// <summary>True when something of a range cannot be mapped.</summary>
    internal bool IsReserved(ulong first, ulong last)
    {
        lock (_lock)
        {
            return _reserved.Intersects(first, last);
        }
    }
}
