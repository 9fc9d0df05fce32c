namespace IommuFd.HwSim.Kernel;

/// <summary>Known memory and its aliases.</summary>
public sealed partial class InProcessUserMemory
{
    // Every alias that was made and not freed yet.
    private readonly HashSet<PageAlias> _aliases = [];

    /// <summary>How many mappings are there twice, for tests.</summary>
    internal int AliasCount => _aliases.Count;

    /// <summary>True when all of a range is anonymous memory that came through the seam.</summary>
    internal bool IsKnown(ulong address, nuint length) => length != 0 && AliasOf(address, length) is not null;

    /// <summary>The machine is gone, and with it whoever had pages pinned.</summary>
    internal void FreeAliases()
    {
        lock (_gate)
        {
            foreach (PageAlias alias in _aliases)
            {
                alias.Free();
            }

            _aliases.Clear();
            _known = [];
        }
    }

    /// <summary>An alias is freed.</summary>
    internal void Forget(PageAlias alias)
    {
        lock (_gate)
        {
            _ = _aliases.Remove(alias);
        }
    }

    // Under the lock: aliases of what was removed, if nothing of their memory is left to the program.
    private void GiveUpAliases(Range[] before, Range gone)
    {
        foreach (Range range in before)
        {
            if (range.Alias is { } alias && range.First <= gone.Last && range.Last >= gone.First
                && !Array.Exists(_known, left => left.Alias == alias))
            {
                alias.GiveUp();
            }
        }
    }

    /// <summary>The alias that covers a known range, with one use of it taken; null when nothing is known of the range.</summary>
    private PageAlias? Hold(ulong address, nuint length) =>
        _known.Length != 0 && length is not 0 and < int.MaxValue && AliasOf(address, length) is PageAlias alias && alias.Hold(1) ? alias : null;

    // Neighbouring mappings count as one.
    private IPageSource? AliasOf(ulong address, ulong length)
    {
        var known = _known;
        int at = FirstAfter(known, address) - 1;
        ulong last = address + length - 1;
        if (at < 0 || last < address || known[at].Last < address)
        {
            return null;
        }

        if (known[at].Last >= last)
        {
            return known[at].Alias ?? MakeAlias(address);
        }

        List<PageAlias> parts = [];
        for (ulong next = address; next <= last && next >= address; next = known[at++].Last + 1)
        {
            if (at == known.Length || known[at].First > next || (known[at].Alias ?? MakeAlias(next)) is not { } part)
            {
                return null;
            }

            parts.Add(part);
        }

        return new NeighbourPages(this, [.. parts]);
    }

    private PageAlias? MakeAlias(ulong address)
    {
        lock (_gate)
        {
            int at = FirstAfter(_known, address) - 1;
            if (at < 0 || _known[at].Last < address)
            {
                return null;
            }

            if (_known[at].Alias is null && PageAlias.Make(this, _known[at].First, _known[at].Last) is { } made)
            {
                _ = _aliases.Add(made);
                Range[] known = [.. _known];
                known[at] = known[at] with { Alias = made };
                _known = known;
            }

            return _known[at].Alias;
        }
    }

    /// <summary>Pages of several mappings side by side.</summary>
    private sealed class NeighbourPages(InProcessUserMemory memory, PageAlias[] parts) : IPageSource
    {
        public SimulatedProcess Process => memory.Process;

        public IUserMemory User => memory;

        public int Pin(ulong address, ulong length, bool writable)
        {
            for (ulong done = 0; done < length;)
            {
                ulong piece = length - done;
                int error = PartAt(address + done, ref piece).Pin(address + done, piece, writable);
                if (error != 0)
                {
                    Unpin(address, done);
                    return error;
                }

                done += piece;
            }

            return 0;
        }

        public void Unpin(ulong address, ulong length)
        {
            for (ulong done = 0; done < length;)
            {
                ulong piece = length - done;
                PartAt(address + done, ref piece).Unpin(address + done, piece);
                done += piece;
            }
        }

        public nint HostAddress(ulong address, ref ulong length) => PartAt(address, ref length).HostAddress(address, ref length);

        private PageAlias PartAt(ulong address, ref ulong length)
        {
            PageAlias part = Array.Find(parts, part => address <= part.Last)!;
            length = ulong.Min(length, part.Last - address + 1);
            return part;
        }
    }
}
