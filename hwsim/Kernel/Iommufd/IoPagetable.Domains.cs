using System.Numerics;
using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>The domains that hold copies of the map, and the alignment that they and the accesses ask for.</summary>
internal sealed partial class IoPagetable
{
    private readonly List<IommuDomain> _domains = [];
    private readonly List<IommufdAccess> _accesses = [];

    internal bool HasDomains => _domains.Count != 0;

    /// <summary>Bits of page sizes that every domain has; all bits without a domain. The lock is held.</summary>
    internal ulong CommonPageSizes
    {
        get
        {
            var bits = ulong.MaxValue;
            foreach (var domain in _domains)
            {
                bits &= domain.PageSizeBitmap;
            }

            return bits;
        }
    }

    /// <summary>iopt_table_add_domain: fills the domain with every area. On failure nothing changed.</summary>
    internal int AddDomain(IommuDomain domain)
    {
        lock (_lock)
        {
            var alignment = ulong.Max(SmallestPage(domain), IovaAlignment);
            if (alignment > PageSize)
            {
                return -Errno.EINVAL;
            }

            if (alignment != IovaAlignment && !AreasAlignTo(alignment))
            {
                return -Errno.EADDRINUSE;
            }

            var rc = 0;
            if (domain.ApertureStart != 0)
            {
                rc = Reserve(0, domain.ApertureStart - 1, domain);
            }

            if (rc == 0 && domain.ApertureEnd != ulong.MaxValue)
            {
                rc = Reserve(domain.ApertureEnd + 1, ulong.MaxValue, domain);
            }

            if (rc == 0)
            {
                rc = FillDomain(domain);
            }

            if (rc != 0)
            {
                Unreserve(domain);
                return rc;
            }

            IovaAlignment = alignment;
            _domains.Add(domain);
            return 0;
        }
    }

    /// <summary>iopt_table_remove_domain: empties the domain.</summary>
    internal void RemoveDomain(IommuDomain domain)
    {
        lock (_lock)
        {
            var at = _domains.IndexOf(domain);
            if (at < 0)
            {
                return;
            }

            // The last one takes the place of the one that goes.
            _domains[at] = _domains[^1];
            _domains.RemoveAt(_domains.Count - 1);
            for (var area = _areas.First(); area != null; area = _areas.Next(area))
            {
                EmptyArea(area, domain, unpin: _domains.Count == 0);
            }

            Unreserve(domain);
            _ = Realign();
        }
    }

    /// <summary>iopt_add_access.</summary>
    internal int AddAccess(IommufdAccess access)
    {
        lock (_lock)
        {
            _accesses.Add(access);
            var rc = Realign();
            if (rc != 0)
            {
                _accesses.Remove(access);
            }

            return rc;
        }
    }

    /// <summary>iopt_remove_access.</summary>
    internal void RemoveAccess(IommufdAccess access)
    {
        lock (_lock)
        {
            _accesses.Remove(access);
            _ = Realign();
        }
    }

    /// <summary>IOMMU_OPTION_HUGE_PAGES = 1.</summary>
    internal void EnableLargePages()
    {
        lock (_lock)
        {
            _smallPages = false;
            _ = Realign();
        }
    }

    /// <summary>IOMMU_OPTION_HUGE_PAGES = 0: not once a domain has pages.</summary>
    internal int DisableLargePages()
    {
        lock (_lock)
        {
            if (_smallPages)
            {
                return 0;
            }

            if (_domains.Count != 0 && _areas.Count != 0)
            {
                return -Errno.EINVAL;
            }

            _smallPages = true;
            var rc = Realign();
            _smallPages = rc == 0;
            return rc;
        }
    }

    private static ulong SmallestPage(IommuDomain domain) => 1UL << BitOperations.TrailingZeroCount(domain.PageSizeBitmap);

    private bool AreasAlignTo(ulong alignment)
    {
        var mask = alignment - 1;
        for (var area = _areas.First(); area != null; area = _areas.Next(area))
        {
            if ((area.Iova & mask) != 0 || (area.Length & mask) != 0 || (area.PageOffset & mask) != 0)
            {
                return false;
            }
        }

        return true;
    }

    // iopt_calculate_iova_alignment
    private int Realign()
    {
        var alignment = _smallPages ? PageSize : 1;
        foreach (var domain in _domains)
        {
            alignment = ulong.Max(alignment, SmallestPage(domain));
        }

        foreach (var access in _accesses)
        {
            alignment = ulong.Max(alignment, access.IovaAlignment);
        }

        if (alignment > IovaAlignment && !AreasAlignTo(alignment))
        {
            return -Errno.EADDRINUSE;
        }

        IovaAlignment = alignment;
        return 0;
    }

    private int FillDomain(IommuDomain domain)
    {
        for (var area = _areas.First(); area != null; area = _areas.Next(area))
        {
            int rc;
            lock (area.Pages)
            {
                rc = FillAreaDomain(area, domain);
            }

            if (rc == 0)
            {
                continue;
            }

            for (var done = _areas.First(); done != area; done = _areas.Next(done!))
            {
                EmptyArea(done!, domain, unpin: _domains.Count == 0);
            }

            return rc;
        }

        return 0;
    }

    // Maps an area into one more domain; the first one pins the pages.
    private int FillAreaDomain(IoptArea area, IommuDomain domain)
    {
        var pages = area.Pages;
        if (pages.DmaBuf is { } dmaBuf)
        {
            if (!dmaBuf.IsRevoked)
            {
                var rc = pages.MapInto(Memory, domain, area, _smallPages);
                if (rc != 0)
                {
                    return rc;
                }
            }

            dmaBuf.Track(area, domain);
            area.IsFilled = true;
            return 0;
        }

        if (area.IsFilled)
        {
            return pages.MapInto(Memory, domain, area, _smallPages);
        }

        var failed = pages.AddCover(Memory, area.FirstIndex, area.LastIndex, out var pinned);
        if (failed != 0)
        {
            return failed;
        }

        failed = pages.MapInto(Memory, domain, area, _smallPages);
        if (failed == 0)
        {
            failed = pages.Charge(pinned);
            if (failed != 0)
            {
                domain.Unmap(area.Iova, area.Length);
            }
        }

        if (failed != 0)
        {
            pages.RemoveCover(Memory, area.FirstIndex, area.LastIndex);
            return failed;
        }

        area.IsFilled = true;
        return 0;
    }

    // iopt_area_fill_domains: a new area into all domains.
    private int FillArea(IoptArea area)
    {
        if (_domains.Count == 0)
        {
            return 0;
        }

        lock (area.Pages)
        {
            for (var i = 0; i < _domains.Count; i++)
            {
                var rc = FillAreaDomain(area, _domains[i]);
                if (rc == 0)
                {
                    continue;
                }

                for (var back = 0; back < i; back++)
                {
                    EmptyAreaLocked(area, _domains[back], unpin: back == i - 1);
                }

                return rc;
            }
        }

        return 0;
    }

    // iopt_area_unfill_domains: out of all domains, and unpinned.
    private void UnfillArea(IoptArea area)
    {
        if (!area.IsFilled)
        {
            return;
        }

        lock (area.Pages)
        {
            for (var i = 0; i < _domains.Count; i++)
            {
                EmptyAreaLocked(area, _domains[i], unpin: i == _domains.Count - 1);
            }
        }
    }

    private void EmptyArea(IoptArea area, IommuDomain domain, bool unpin)
    {
        lock (area.Pages)
        {
            EmptyAreaLocked(area, domain, unpin);
        }
    }

    private void EmptyAreaLocked(IoptArea area, IommuDomain domain, bool unpin)
    {
        var pages = area.Pages;
        if (!pages.IsRevoked)
        {
            domain.Unmap(area.Iova, area.Length);
        }

        pages.DmaBuf?.Untrack(area, domain);
        if (!unpin)
        {
            return;
        }

        area.IsFilled = false;
        if (pages.DmaBuf == null)
        {
            pages.Uncharge(pages.RemoveCover(Memory, area.FirstIndex, area.LastIndex));
        }
    }
}
