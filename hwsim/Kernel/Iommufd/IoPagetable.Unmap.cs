using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>Unmapping: whole areas only, except that a type 1 container may cut areas beforehand.</summary>
internal sealed partial class IoPagetable
{
    /// <summary>iopt_unmap_iova.</summary>
    internal int Unmap(ulong iova, ulong length, out ulong unmapped)
    {
        unmapped = 0;
        if (length == 0)
        {
            return -Errno.EINVAL;
        }

        var last = iova + length - 1;
        return last < iova ? -Errno.EOVERFLOW : UnmapRange(iova, last, out unmapped);
    }

    /// <summary>iopt_unmap_all: succeeds when there is nothing.</summary>
    internal int UnmapAll(out ulong unmapped) => UnmapRange(0, ulong.MaxValue, out unmapped);

    private int UnmapRange(ulong start, ulong last, out ulong unmapped)
    {
        unmapped = 0;
        for (var tries = 0; ;)
        {
            ulong noticeIova, noticeLength;
            lock (_lock)
            {
                while (true)
                {
                    if (_areas.First(start, last) is not { } area)
                    {
                        return 0;
                    }

                    if (area.LockCount != 0)
                    {
                        return -Errno.EBUSY;
                    }

                    if (area.Iova < start || area.LastIova > last)
                    {
                        return -Errno.ENOENT;
                    }

                    if (area.Iova != start)
                    {
                        tries = 0;
                    }

                    var areaLast = area.LastIova;
                    if (area.AccessCount != 0)
                    {
                        start = area.Iova;
                        area.PreventAccess = true;
                        noticeIova = area.Iova;
                        noticeLength = area.Length;
                        break;
                    }

                    unmapped += area.Length;
                    var pages = area.Pages;
                    UnfillArea(area);
                    RemoveArea(area);
                    context.PutPages(pages);
                    if (areaLast >= last)
                    {
                        return 0;
                    }

                    start = areaLast + 1;
                }
            }

            NotifyUnmap(noticeIova, noticeLength);
            if (++tries > 100)
            {
                return -Errno.EDEADLK;
            }
        }
    }

    /// <summary>iopt_cut_iova: splits the areas after each IOVA, for containers of type 1 version 1.</summary>
    internal int Cut(ReadOnlySpan<ulong> iovas)
    {
        lock (_lock)
        {
            foreach (var iova in iovas)
            {
                if (_areas.First(iova, iova) is { } area)
                {
                    var rc = Split(area, iova);
                    if (rc != 0)
                    {
                        return rc;
                    }
                }
            }

            return 0;
        }
    }

    private int Split(IoptArea area, ulong iova)
    {
        if (iova == area.Iova || iova == area.LastIova)
        {
            return 0;
        }

        if (area.PreventAccess)
        {
            return -Errno.EBUSY;
        }

        if (area.Pages.DmaBuf != null)
        {
            return -Errno.EOPNOTSUPP;
        }

        var newStart = iova + 1;
        if ((newStart & (IovaAlignment - 1)) != 0 || (area.ByteOf(newStart) & (IovaAlignment - 1)) != 0)
        {
            return -Errno.EINVAL;
        }

        if (area.AccessCount != 0 || (area.IsFilled && !_smallPages))
        {
            return -Errno.EINVAL;
        }

        var right = context.NewArea();
        right.Pages = area.Pages;
        right.Iova = newStart;
        right.LastIova = area.LastIova;
        right.StartByte = area.ByteOf(newStart);
        right.Prot = area.Prot;
        right.IsFilled = area.IsFilled;
        Interlocked.Increment(ref area.Pages.References);
        lock (area.Pages)
        {
            // Both halves count their pages from now on; a page that the cut goes through is used by both.
            if (area.IsFilled)
            {
                var cover = area.Pages.EnsureCover();
                if (right.FirstIndex * PageSize != right.StartByte)
                {
                    cover.Add(right.FirstIndex, right.FirstIndex);
                }
            }
        }

        area.LastIova = iova;
        _areas.Insert(right);
        return 0;
    }
}
