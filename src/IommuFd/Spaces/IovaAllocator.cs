using System.Numerics;

namespace IommuFd;

/// <summary>
/// Hands out IOVAs from given ranges, lowest first. For devices that cannot form every address (an aperture) and for interfaces that do not choose
/// themselves; otherwise let the kernel choose. Not safe for concurrent use.
/// </summary>
public sealed class IovaAllocator
{
    private readonly List<IovaRange> _free = [];

    /// <summary>Starts with ranges that are all free.</summary>
    /// <param name="permitted">Where IOVAs may lie, such as <see cref="IoAddressSpace.PermittedRanges"/>.</param>
    /// <param name="aperture">What the device can form; null for everything.</param>
    public IovaAllocator(IEnumerable<IovaRange> permitted, IovaRange? aperture = null)
    {
        ArgumentNullException.ThrowIfNull(permitted);
        IovaRange limit = aperture ?? new IovaRange(0, ulong.MaxValue);
        foreach (IovaRange range in permitted.OrderBy(static range => range.Start))
        {
            (ulong start, ulong last) = (Math.Max(range.Start, limit.Start), Math.Min(range.Last, limit.Last));
            if (start <= last)
            {
                _free.Add(new IovaRange(start, last));
            }
        }
    }

    /// <summary>What is free, ascending.</summary>
    public IReadOnlyList<IovaRange> Free => _free;

    /// <summary>Takes the lowest free range.</summary>
    /// <param name="length">Bytes.</param>
    /// <param name="alignment">A power of two.</param>
    /// <param name="iova">Its start.</param>
    /// <returns>False when no range is long enough.</returns>
    public bool TryAllocate(ulong length, ulong alignment, out ulong iova)
    {
        ArgumentOutOfRangeException.ThrowIfZero(length);
        if (!BitOperations.IsPow2(alignment))
        {
            throw new ArgumentException($"0x{alignment:x} is no power of two.", nameof(alignment));
        }

        for (int i = 0; i < _free.Count; i++)
        {
            ulong start = (_free[i].Start + alignment - 1) & ~(alignment - 1);
            if (start >= _free[i].Start && _free[i].Contains(start, length)) // the first: rounding up can wrap
            {
                iova = start;
                Take(i, start, start + (length - 1));
                return true;
            }
        }

        iova = 0;
        return false;
    }

    /// <summary>Takes a given range out, as far as it is free.</summary>
    public void Reserve(IovaRange range)
    {
        for (int i = _free.Count - 1; i >= 0; i--)
        {
            (ulong start, ulong last) = (Math.Max(range.Start, _free[i].Start), Math.Min(range.Last, _free[i].Last));
            if (start <= last)
            {
                Take(i, start, last);
            }
        }
    }

    /// <summary>Gives a range back; neighbours grow together.</summary>
    /// <exception cref="ArgumentException">A part of it is free already.</exception>
    public void Return(ulong iova, ulong length)
    {
        ArgumentOutOfRangeException.ThrowIfZero(length);
        ulong last = checked(iova + (length - 1));
        int at = 0;
        while (at < _free.Count && _free[at].Start <= iova)
        {
            at++;
        }

        if ((at > 0 && _free[at - 1].Last >= iova) || (at < _free.Count && _free[at].Start <= last))
        {
            throw new ArgumentException($"0x{iova:x}-0x{last:x} is free already.", nameof(iova));
        }

        bool joinsPrevious = at > 0 && _free[at - 1].Last == iova - 1;
        bool joinsNext = at < _free.Count && last != ulong.MaxValue && _free[at].Start == last + 1;
        IovaRange joined = new(joinsPrevious ? _free[at - 1].Start : iova, joinsNext ? _free[at].Last : last);
        if (joinsNext)
        {
            _free.RemoveAt(at);
        }

        if (joinsPrevious)
        {
            _free[at - 1] = joined;
        }
        else
        {
            _free.Insert(at, joined);
        }
    }

    /// <summary>One range among those that are taken, aligned to its own size where there is room, so that large pages are possible.</summary>
    internal static bool TryChoose(IEnumerable<IovaRange> permitted, IEnumerable<(ulong Start, ulong Length)> taken, ulong length,
        ulong alignment, out ulong iova)
    {
        IovaAllocator allocator = new(permitted);
        foreach ((ulong start, ulong bytes) in taken)
        {
            allocator.Reserve(new IovaRange(start, start + (bytes - 1)));
        }

        ulong wide = length >= 1UL << 30 ? 1UL << 30 : length >= 1UL << 21 ? 1UL << 21 : alignment;
        return allocator.TryAllocate(length, wide, out iova) || allocator.TryAllocate(length, alignment, out iova);
    }

    /// <summary>What several lists of ranges have in common; an empty list says nothing.</summary>
    internal static IovaRange[] Common(IEnumerable<IReadOnlyList<IovaRange>> lists)
    {
        IEnumerable<IovaRange> common = [new IovaRange(0, ulong.MaxValue)];
        foreach (IReadOnlyList<IovaRange> ranges in lists.Where(static list => list.Count > 0))
        {
            common = [.. common.SelectMany(_ => ranges, static (a, b) => new IovaRange(Math.Max(a.Start, b.Start), Math.Min(a.Last, b.Last)))
                .Where(static r => r.Start <= r.Last)];
        }

        return [.. common];
    }

    private void Take(int index, ulong start, ulong last)
    {
        IovaRange range = _free[index];
        _free.RemoveAt(index);
        if (last < range.Last)
        {
            _free.Insert(index, new IovaRange(last + 1, range.Last));
        }

        if (start > range.Start)
        {
            _free.Insert(index, new IovaRange(range.Start, start - 1));
        }
    }
}
