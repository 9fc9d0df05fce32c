using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>Whom pinned pages are charged to (IOPT_PAGES_ACCOUNT_*).</summary>
internal enum AccountMode : byte
{
    /// <summary>Nobody: the process may lock without limit.</summary>
    None,

    /// <summary>All processes of the user together.</summary>
    User,

    /// <summary>The process.</summary>
    Process,
}

/// <summary>
/// Pages that one or several areas map (struct iopt_pages). A page is pinned once however many areas, domains and accesses use it. Indexes count
/// pages from the start. Where a page is in physical memory is not kept here: the physical memory knows it by the host address.
/// </summary>
/// <remarks>Callers hold the object's monitor wherever two address spaces can share it.</remarks>
internal sealed unsafe class IoptPages
{
    internal const ulong PageSize = 4096;

    /// <summary>Where the pages come from. What only shared, partly pinned, file and dma-buf pages need stands before it.</summary>
    internal IPageSource Source = null!;

    /// <summary>Address of page 0 in <see cref="Source"/>, a multiple of the page size.</summary>
    internal ulong Address;

    internal ulong PageCount;

    internal int References;

    internal bool Writable;
    internal AccountMode Mode;
    private bool _allPinned;

    internal IoptPagesExtra? Extra => Source as IoptPagesExtra;

    /// <summary>Pages pinned now.</summary>
    internal ulong PinnedPages => Extra?.Cover?.Pages ?? (_allPinned ? PageCount : 0);

    internal DmaBufPages? DmaBuf => Extra?.DmaBuf;

    /// <summary>True when the exporter of the dma-buf took it back.</summary>
    internal bool IsRevoked => DmaBuf is { IsRevoked: true };

    internal void Init(IPageSource source, ulong address, ulong pageCount, bool writable)
    {
        Source = source;
        Address = address;
        PageCount = pageCount;
        References = 1;
        Writable = writable;
        Mode = source.Process.Capable(Capabilities.IpcLock) ? AccountMode.None : AccountMode.User;
        _allPinned = false;
    }

    /// <summary>Pins the pages of the range that are not pinned yet and counts the range as used once more.</summary>
    /// <returns>0, -EFAULT, -ENOMEM; then nothing changed.</returns>
    internal int AddCover(PhysicalMemory memory, ulong first, ulong last, out ulong pinned)
    {
        pinned = 0;
        if (Extra?.Cover == null && !_allPinned && first == 0 && last == PageCount - 1)
        {
            var rc = PinRun(memory, first, last);
            _allPinned = rc == 0;
            pinned = rc == 0 ? PageCount : 0;
            return rc;
        }

        var cover = EnsureCover();
        var before = cover.Pages;
        for (var from = first; cover.NextUncovered(from, last, out var a, out var b); from = b + 1)
        {
            var rc = PinRun(memory, a, b);
            if (rc != 0)
            {
                for (from = first; from < a && cover.NextUncovered(from, a - 1, out var c, out var d); from = d + 1)
                {
                    UnpinRun(memory, c, d);
                    if (d == a - 1)
                    {
                        break;
                    }
                }

                return rc;
            }

            if (b == last)
            {
                break;
            }
        }

        cover.Add(first, last);
        pinned = cover.Pages - before;
        return 0;
    }

    /// <summary>Undoes one <see cref="AddCover"/> of the range. Returns how many pages are pinned no more.</summary>
    internal ulong RemoveCover(PhysicalMemory memory, ulong first, ulong last)
    {
        if (Extra?.Cover == null && first == 0 && last == PageCount - 1)
        {
            UnpinRun(memory, first, last);
            _allPinned = false;
            return PageCount;
        }

        return EnsureCover().Remove(first, last, this, memory);
    }

    /// <summary>Charges pinned pages: -ENOMEM beyond RLIMIT_MEMLOCK.</summary>
    internal int Charge(ulong pages)
    {
        if (pages == 0)
        {
            return 0;
        }

        var process = Source.Process;
        if (!Accounting.TryCharge(process, Mode, pages))
        {
            return -Errno.ENOMEM;
        }

        process.PinnedPages.Add(pages);
        return 0;
    }

    /// <summary>Takes a charge back.</summary>
    internal void Uncharge(ulong pages)
    {
        if (pages == 0)
        {
            return;
        }

        Accounting.Uncharge(Source.Process, Mode, pages);
        Source.Process.PinnedPages.Subtract(pages);
    }

    /// <summary>Maps an area's pages, which are pinned, into a domain.</summary>
    /// <returns>0, or the domain's error; then nothing of the area is mapped.</returns>
    internal int MapInto(PhysicalMemory memory, IommuDomain domain, IoptArea area, bool smallPages)
    {
        // A container can make an area that permits nothing; tables refuse it.
        if ((area.Prot & (IommuProt.Read | IommuProt.Write)) == 0)
        {
            return -Errno.EINVAL;
        }

        var iova = area.Iova;
        var at = area.StartByte;
        for (var left = area.Length; left != 0;)
        {
            PhysicalRun run;
            var prot = area.Prot;
            if (DmaBuf is { } dmaBuf)
            {
                run = new PhysicalRun(dmaBuf.Physical + dmaBuf.Offset + at, left);
                prot |= IommuProt.Mmio;
            }
            else
            {
                var contiguous = left;
                var host = Source.HostAddress(Address + at, ref contiguous);

                // SAFETY: the address only names the page; pages of the area are pinned.
                _ = memory.TryGetRun((void*)host, contiguous, out run);
            }

            var length = run.Length;
            if (smallPages)
            {
                length = ulong.Min(length, PageSize - (at % PageSize));
            }

            var rc = length == 0 ? -Errno.EFAULT : domain.Map(iova, run.Address, length, prot);
            if (rc != 0)
            {
                if (iova != area.Iova)
                {
                    domain.Unmap(area.Iova, iova - area.Iova);
                }

                return rc;
            }

            iova += length;
            at += length;
            left -= length;
        }

        return 0;
    }

    internal void UnpinRun(PhysicalMemory memory, ulong first, ulong last)
    {
        var address = Address + (first * PageSize);
        var length = (last - first + 1) * PageSize;
        UnpinPhysical(memory, address, length);
        Source.Unpin(address, length);
    }

    internal CoverCount EnsureCover()
    {
        var extra = Extra;
        if (extra == null)
        {
            Source = extra = new IoptPagesExtra(Source);
        }

        if (extra.Cover == null)
        {
            extra.Cover = new CoverCount();
            if (_allPinned)
            {
                extra.Cover.Add(0, PageCount - 1);
            }
        }

        return extra.Cover;
    }

    private int PinRun(PhysicalMemory memory, ulong first, ulong last)
    {
        var address = Address + (first * PageSize);
        var length = (last - first + 1) * PageSize;
        var rc = Source.Pin(address, length, Writable);
        if (rc != 0)
        {
            return rc;
        }

        for (ulong done = 0; done < length;)
        {
            var piece = length - done;
            var host = Source.HostAddress(address + done, ref piece);

            // SAFETY: the source just made the range present and keeps it so.
            if (!memory.Pin((void*)host, piece))
            {
                UnpinPhysical(memory, address, done);
                Source.Unpin(address, length);
                return -Errno.ENOMEM;
            }

            done += piece;
        }

        return 0;
    }

    private void UnpinPhysical(PhysicalMemory memory, ulong address, ulong length)
    {
        for (ulong done = 0; done < length;)
        {
            var piece = length - done;
            var host = Source.HostAddress(address + done, ref piece);

            // SAFETY: the address only names the pages.
            memory.Unpin((void*)host, piece);
            done += piece;
        }
    }
}
