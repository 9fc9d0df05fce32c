using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>Reserved IOVAs, which narrow the map as devices and domains come, and allowed ones, which user space wants to keep.</summary>
internal sealed partial class IoPagetable
{
    /// <summary>iopt_reserve_iova by somebody outside: -EADDRINUSE where something is mapped or promised.</summary>
    internal int ReserveIova(ulong first, ulong last, object owner)
    {
        lock (_lock)
        {
            return Reserve(first, last, owner);
        }
    }

    /// <summary>iopt_remove_reserved_iova.</summary>
    internal void RemoveReserved(object owner)
    {
        lock (_lock)
        {
            Unreserve(owner);
        }
    }

    /// <summary>iopt_table_enforce_dev_resv_regions: all or none of a device's regions.</summary>
    internal int ReserveRegionsOf(IommuDevice device)
    {
        lock (_lock)
        {
            foreach (var region in device.ReservedRegions)
            {
                if (region.Type == ReservedRegionType.DirectRelaxable)
                {
                    continue;
                }

                var rc = Reserve(region.Start, region.Length - 1 + region.Start, device);
                if (rc != 0)
                {
                    Unreserve(device);
                    return rc;
                }
            }

            return 0;
        }
    }

    /// <summary>iopt_set_allow_iova: replaces the promise, or -EADDRINUSE where a range is reserved. The list is sorted.</summary>
    internal int SetAllowed(List<AllowedRange> allowed)
    {
        lock (_lock)
        {
            foreach (var range in allowed)
            {
                if (_reserved.Intersects(range.First, range.Last))
                {
                    return -Errno.EADDRINUSE;
                }
            }

            _allowed = allowed;
            return 0;
        }
    }

    private int Reserve(ulong first, ulong last, object owner)
    {
        if (_areas.First(first, last) != null || _allowed.Exists(a => a.First <= last && a.Last >= first))
        {
            return -Errno.EADDRINUSE;
        }

        _reserved.Add(first, last, owner);
        return 0;
    }

    private void Unreserve(object owner)
    {
        if (_reserved.Remove(owner))
        {
            _hint = 0;
        }
    }
}
