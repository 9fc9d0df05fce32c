using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>In-kernel users of the map: mediated devices and hardware queues, which pin pages or copy bytes without a domain.</summary>
internal sealed unsafe partial class IoPagetable
{
    /// <summary>
    /// iommufd_access_pin_pages: pins the pages of a range without a gap. The host addresses of the pages are stored in <paramref name="pages"/>.
    /// </summary>
    internal int PinAccess(ulong iova, ulong last, Span<nint> pages, bool write, bool lockAreas)
    {
        lock (_lock)
        {
            var filled = 0;
            for (var at = iova; ;)
            {
                var rc = 0;
                var area = _areas.First(at, at);
                var end = area == null ? 0 : ulong.Min(last, area.LastIova);
                if (area == null)
                {
                    rc = -Errno.ENOENT;
                }
                else if (area.PreventAccess || !IsPageAligned(area, at, last))
                {
                    rc = -Errno.EINVAL;
                }
                else if ((area.Prot & (write ? IommuProt.Write : IommuProt.Read)) == 0)
                {
                    rc = -Errno.EPERM;
                }
                else
                {
                    rc = AddAreaAccess(area, area.IndexOf(at), area.IndexOf(end), write, lockAreas);
                }

                if (rc != 0)
                {
                    if (at > iova)
                    {
                        UnpinAccessLocked(iova, at - 1, lockAreas);
                    }

                    return rc;
                }

                for (var index = area!.IndexOf(at); index <= area.IndexOf(end) && filled < pages.Length; index++)
                {
                    var length = PageSize;
                    pages[filled++] = area.Pages.Source.HostAddress(area.Pages.Address + (index * PageSize), ref length);
                }

                if (end == last)
                {
                    return 0;
                }

                at = end + 1;
            }
        }
    }

    /// <summary>iommufd_access_unpin_pages: the same range that was pinned.</summary>
    internal void UnpinAccess(ulong iova, ulong last, bool lockAreas)
    {
        lock (_lock)
        {
            UnpinAccessLocked(iova, last, lockAreas);
        }
    }

    /// <summary>iommufd_access_rw: copies bytes out of or into a range without a gap.</summary>
    internal int CopyAccess(ulong iova, ulong last, byte* data, bool write)
    {
        lock (_lock)
        {
            for (var at = iova; ;)
            {
                if (_areas.First(at, at) is not { } area)
                {
                    return -Errno.ENOENT;
                }

                var end = ulong.Min(last, area.LastIova);
                if (area.PreventAccess)
                {
                    return -Errno.EINVAL;
                }

                if ((area.Prot & (write ? IommuProt.Write : IommuProt.Read)) == 0)
                {
                    return -Errno.EPERM;
                }

                var rc = CopyPages(area.Pages, area.ByteOf(at), data, end - at + 1, write);
                if (rc != 0)
                {
                    return rc;
                }

                data += end - at + 1;
                if (end == last)
                {
                    return 0;
                }

                at = end + 1;
            }
        }
    }

    /// <summary>iommufd_access_notify_unmap: tells every access that a range goes away. The lock is not held.</summary>
    internal void NotifyUnmap(ulong iova, ulong length)
    {
        IommufdAccess[] accesses;
        lock (_lock)
        {
            accesses = [.. _accesses];
        }

        foreach (var access in accesses)
        {
            if (!access.IsInternal && context.TryLockObject(access.Object))
            {
                access.Unmap?.Invoke(iova, length);
                IommufdContext.PutObject(access.Object);
            }
        }
    }

    // iopt_area_contig_is_aligned
    private static bool IsPageAligned(IoptArea area, ulong at, ulong last)
    {
        if (area.ByteOf(at) % PageSize != 0)
        {
            return false;
        }

        return last <= area.LastIova || area.ByteOf(area.LastIova) % PageSize == PageSize - 1;
    }

    private int AddAreaAccess(IoptArea area, ulong first, ulong last, bool write, bool lockArea)
    {
        var pages = area.Pages;
        if (write && !pages.Writable)
        {
            return -Errno.EPERM;
        }

        if (pages.DmaBuf != null)
        {
            return -Errno.EINVAL;
        }

        lock (pages)
        {
            var rc = pages.AddCover(Memory, first, last, out var pinned);
            if (rc != 0)
            {
                return rc;
            }

            rc = pages.Charge(pinned);
            if (rc != 0)
            {
                pages.RemoveCover(Memory, first, last);
                return rc;
            }
        }

        area.AccessCount++;
        if (lockArea)
        {
            area.LockCount++;
        }

        return 0;
    }

    private void UnpinAccessLocked(ulong iova, ulong last, bool lockAreas)
    {
        for (var at = iova; _areas.First(at, at) is { } area;)
        {
            var end = ulong.Min(last, area.LastIova);
            area.AccessCount--;
            if (lockAreas)
            {
                area.LockCount--;
            }

            lock (area.Pages)
            {
                area.Pages.Uncharge(area.Pages.RemoveCover(Memory, area.IndexOf(at), area.IndexOf(end)));
            }

            if (end == last)
            {
                return;
            }

            at = end + 1;
        }
    }

    private int CopyPages(IoptPages pages, ulong startByte, byte* data, ulong length, bool write)
    {
        if (write && !pages.Writable)
        {
            return -Errno.EPERM;
        }

        if (pages.DmaBuf != null)
        {
            return -Errno.EINVAL;
        }

        if (pages.Source.User is { } user)
        {
            var copied = write
                ? user.CopyTo(pages.Address + startByte, data, (nuint)length)
                : user.CopyFrom(pages.Address + startByte, data, (nuint)length);
            if (copied == 0 || pages.PinnedPages == 0)
            {
                return copied;
            }
        }

        // Pages of a file, or of a process that is gone: pinned for as long as it takes.
        lock (pages)
        {
            var first = startByte / PageSize;
            var last = (startByte + length - 1) / PageSize;
            var rc = pages.AddCover(Memory, first, last, out _);
            if (rc != 0)
            {
                return rc;
            }

            for (ulong done = 0; done < length;)
            {
                var piece = length - done;
                var host = pages.Source.HostAddress(pages.Address + startByte + done, ref piece);
                if (!Memory.CopyHost(host, data + done, piece, write))
                {
                    rc = -Errno.EFAULT;
                    break;
                }

                done += piece;
            }

            pages.RemoveCover(Memory, first, last);
            return rc;
        }
    }
}
