using System.Numerics;
using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// The IOVA map of an address space (struct io_pagetable): areas of pages, the domains that hold copies of them, and the IOVAs that are reserved or
/// promised.
/// </summary>
/// <remarks>
/// One lock stands for the kernel's two semaphores: what races map with unmap there (EBUSY) is put in order here.
/// Callbacks of accesses run without the lock.
/// </remarks>
internal sealed partial class IoPagetable(IommufdContext context)
{
    internal const ulong PageSize = IoptPages.PageSize;

    // The largest alignment that automatic IOVAs get: a transparent huge page.
    private const ulong HugePageSize = 2 << 20;

    private readonly Lock _lock = new();
    private readonly AreaTree _areas = new();
    private readonly ReservedRanges _reserved = new();
    private List<AllowedRange> _allowed = [];
    private bool _smallPages;

    internal readonly record struct AllowedRange(ulong First, ulong Last);

    private PhysicalMemory Memory => context.Module.Memory;

    internal Lock Lock => _lock;

    internal ReservedRanges Reserved => _reserved;

    /// <summary>What IOVAs and lengths must be multiples of.</summary>
    internal ulong IovaAlignment { get; private set; } = 1;

    internal bool LargePagesDisabled => Volatile.Read(ref _smallPages);

    internal int AreaCount
    {
        get
        {
            lock (_lock)
            {
                return _areas.Count;
            }
        }
    }

    /// <summary>Maps pages that have no area yet (iopt_map_pages with one element). Consumes the reference to them in any case.</summary>
    internal int MapPages(IoptPages pages, ulong startByte, ulong length, ref ulong iova, IommuProt prot, bool allocate)
    {
        var slice = new PagesSlice(pages, startByte, length);
        var rc = MapSlices(new ReadOnlySpan<PagesSlice>(ref slice), length, ref iova, prot, allocate);
        if (rc != 0)
        {
            context.PutPages(pages);
        }

        return rc;
    }

    /// <summary>Maps slices of pages one after the other (iopt_map_pages). On success the areas own the references.</summary>
    internal int MapSlices(ReadOnlySpan<PagesSlice> slices, ulong length, ref ulong iova, IommuProt prot, bool allocate)
    {
        lock (_lock)
        {
            if ((length & (IovaAlignment - 1)) != 0 || length == 0)
            {
                return -Errno.EINVAL;
            }

            var rc = allocate
                ? AllocateIova(slices[0].Pages.Address + slices[0].StartByte, length, ref iova)
                : CheckIova(iova, length);
            if (rc != 0)
            {
                return rc;
            }

            var at = iova;
            for (var i = 0; i < slices.Length; i++)
            {
                rc = InsertArea(slices[i], at, prot);
                if (rc != 0)
                {
                    RemoveAreas(slices[..i], iova);
                    return rc;
                }

                at += slices[i].Length;
            }

            at = iova;
            for (var i = 0; i < slices.Length && _domains.Count != 0; i++)
            {
                rc = FillArea(_areas.First(at, at)!);
                if (rc != 0)
                {
                    RemoveAreas(slices, iova);
                    return rc;
                }

                at += slices[i].Length;
            }

            return 0;
        }
    }

    /// <summary>The slices of pages behind a range of IOVAs without a gap, each with a reference taken (iopt_get_pages).</summary>
    internal int GetPages(ulong iova, ulong length, List<PagesSlice> slices)
    {
        if (length == 0)
        {
            return -Errno.EINVAL;
        }

        var last = iova + length - 1;
        if (last < iova)
        {
            return -Errno.EOVERFLOW;
        }

        lock (_lock)
        {
            for (var at = iova; ;)
            {
                if (_areas.First(at, at) is not { } area)
                {
                    context.PutSlices(slices);
                    return -Errno.ENOENT;
                }

                var end = ulong.Min(last, area.LastIova);
                Interlocked.Increment(ref area.Pages.References);
                slices.Add(new PagesSlice(area.Pages, area.ByteOf(at), end - at + 1));
                if (end == last)
                {
                    return 0;
                }

                at = end + 1;
            }
        }
    }

    /// <summary>Pages pinned for all areas; pages of two areas count once.</summary>
    internal ulong PinnedPages()
    {
        lock (_lock)
        {
            HashSet<IoptPages> seen = [];
            ulong pages = 0;
            for (var area = _areas.First(); area != null; area = _areas.Next(area))
            {
                pages += seen.Add(area.Pages) ? area.Pages.PinnedPages : 0;
            }

            return pages;
        }
    }

    /// <summary>The pages of all areas, or false when they are not all of memory files. The lock is held.</summary>
    internal bool CollectFilePages(HashSet<IoptPages> files)
    {
        for (var area = _areas.First(); area != null; area = _areas.Next(area))
        {
            if (area.Pages.Extra?.File == null)
            {
                return false;
            }

            files.Add(area.Pages);
        }

        return true;
    }

    private int InsertArea(in PagesSlice slice, ulong iova, IommuProt prot)
    {
        if ((prot & IommuProt.Write) != 0 && !slice.Pages.Writable)
        {
            return -Errno.EPERM;
        }

        if ((slice.StartByte % PageSize & (IovaAlignment - 1)) != 0)
        {
            return -Errno.EINVAL;
        }

        var last = iova + slice.Length - 1;
        if (last < iova || slice.StartByte + slice.Length - 1 < slice.StartByte)
        {
            return -Errno.EOVERFLOW;
        }

        var area = context.NewArea();
        area.Pages = slice.Pages;
        area.Iova = iova;
        area.LastIova = last;
        area.StartByte = slice.StartByte;
        area.Prot = prot;
        _areas.Insert(area);
        return 0;
    }

    // The pages stay with the caller.
    private void RemoveAreas(ReadOnlySpan<PagesSlice> slices, ulong iova)
    {
        foreach (ref readonly var slice in slices)
        {
            if (_areas.First(iova, iova) is { } area)
            {
                UnfillArea(area);
                RemoveArea(area);
            }

            iova += slice.Length;
        }
    }

    private void RemoveArea(IoptArea area)
    {
        _areas.Remove(area);
        ForgetAutoHint(area.Iova);
        context.FreeArea(area);
    }

    private int CheckIova(ulong iova, ulong length)
    {
        if ((iova & (IovaAlignment - 1)) != 0)
        {
            return -Errno.EINVAL;
        }

        var last = iova + length - 1;
        if (last < iova)
        {
            return -Errno.EOVERFLOW;
        }

        if (_reserved.Intersects(iova, last))
        {
            return -Errno.EINVAL;
        }

        return _areas.First(iova, last) != null ? -Errno.EEXIST : 0;
    }

    /// <summary>A piece of some pages.</summary>
    internal readonly record struct PagesSlice(IoptPages Pages, ulong StartByte, ulong Length);
}
