namespace IommuFd;

/// <summary>The mappings of an address space, sorted once by process address and once by IOVA: both directions are binary searches.</summary>
internal sealed class MappingTable
{
    private readonly Lock _gate = new();
    private readonly List<Mapping> _byAddress = []; // one memory may be mapped more than once: equal addresses stand together
    private readonly List<Mapping> _byIova = [];

    internal void Add(Mapping mapping)
    {
        lock (_gate)
        {
            _byAddress.Insert(AfterAddress(mapping.Address), mapping);
            _byIova.Insert(AfterIova(mapping.Iova), mapping);
        }
    }

    internal void Remove(Mapping mapping)
    {
        lock (_gate)
        {
            int at = AfterAddress(mapping.Address) - 1;
            while (at >= 0 && _byAddress[at] != mapping)
            {
                at--;
            }

            if (at >= 0)
            {
                _byAddress.RemoveAt(at);
            }

            at = AfterIova(mapping.Iova) - 1;
            if (at >= 0 && _byIova[at] == mapping)
            {
                _byIova.RemoveAt(at);
            }
        }
    }

    /// <summary>The mapping that holds a process address; null when none does. The latest one, where a memory is mapped more than once.</summary>
    internal Mapping? AtAddress(nint address)
    {
        lock (_gate)
        {
            for (int at = AfterAddress((ulong)address) - 1; at >= 0; at--)
            {
                if ((ulong)address - _byAddress[at].Address < _byAddress[at].Length)
                {
                    return _byAddress[at];
                }

                if (at > 0 && _byAddress[at - 1].Address != _byAddress[at].Address)
                {
                    break; // mappings of different memory do not overlap
                }
            }

            return null;
        }
    }

    /// <summary>The mapping that holds an IOVA; null when none does.</summary>
    internal Mapping? AtIova(ulong iova)
    {
        lock (_gate)
        {
            int at = AfterIova(iova) - 1;
            return at >= 0 && iova - _byIova[at].Iova < _byIova[at].Length ? _byIova[at] : null;
        }
    }

    /// <summary>The first mapping that meets a range, cut to it.</summary>
    internal bool FirstIn(ulong first, ulong last, out SpacePiece piece)
    {
        lock (_gate)
        {
            int at = AfterIova(first);
            at -= at > 0 && first - _byIova[at - 1].Iova < _byIova[at - 1].Length ? 1 : 0;
            if (at == _byIova.Count || _byIova[at].Iova > last)
            {
                piece = default;
                return false;
            }

            Mapping mapping = _byIova[at];
            piece = new SpacePiece(mapping.Iova, mapping.Length, (nint)mapping.Address, mapping.Access).Within(first, last);
            return true;
        }
    }

    /// <summary>All mappings, by IOVA.</summary>
    internal Mapping[] ToArray()
    {
        lock (_gate)
        {
            return [.. _byIova];
        }
    }

    private int AfterAddress(ulong address)
    {
        (int low, int high) = (0, _byAddress.Count);
        while (low < high)
        {
            int middle = (low + high) / 2;
            (low, high) = _byAddress[middle].Address <= address ? (middle + 1, high) : (low, middle);
        }

        return low;
    }

    private int AfterIova(ulong iova)
    {
        (int low, int high) = (0, _byIova.Count);
        while (low < high)
        {
            int middle = (low + high) / 2;
            (low, high) = _byIova[middle].Iova <= iova ? (middle + 1, high) : (low, middle);
        }

        return low;
    }
}
