using System.Numerics;
using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// The choice of IOVAs for IOMMU_IOAS_MAP without IOMMU_IOAS_MAP_FIXED_IOVA (iopt_alloc_iova): the lowest hole that fits, never IOVA 0.
/// </summary>
internal sealed partial class IoPagetable
{
    // Nothing of at least this length with this alignment and offset in its page fits below the hint: one after the other costs no search from the
    // start.
    private ulong _hintLength = ulong.MaxValue, _hintAlignment, _hintOffset, _hint;

    private int AllocateIova(ulong address, ulong length, ref ulong iova)
    {
        if (length >= ulong.MaxValue / 2)
        {
            return -Errno.EOVERFLOW;
        }

        var offset = address % PageSize;
        var alignment = BitOperations.RoundUpToPowerOf2(length);
        if (address != 0)
        {
            alignment = ulong.Min(alignment, address & (0 - address));
        }

        alignment = ulong.Min(alignment, HugePageSize);
        if (alignment < IovaAlignment)
        {
            return -Errno.EINVAL;
        }

        if (_allowed.Count == 0)
        {
            var useHint = length >= _hintLength && alignment == _hintAlignment && offset == _hintOffset;
            var from = PageSize;
            const ulong Last = ulong.MaxValue - PageSize;
            if (!Fit(ref from, Last, length, alignment, offset)
                || !FindHole(useHint ? ulong.Max(from, _hint) : from, Last, length, alignment, offset, ref iova))
            {
                return -Errno.ENOSPC;
            }

            (_hintLength, _hintAlignment, _hintOffset, _hint) = (length, alignment, offset, iova);
            return 0;
        }

        for (var i = 0; i < _allowed.Count; i++)
        {
            var (first, last) = _allowed[i];
            while (i + 1 < _allowed.Count && _allowed[i + 1].First == last + 1)
            {
                last = _allowed[++i].Last;
            }

            first = ulong.Max(first, PageSize);
            last = ulong.Min(last, ulong.MaxValue - PageSize);
            if (first <= last && Fit(ref first, last, length, alignment, offset) && FindHole(first, last, length, alignment, offset, ref iova))
            {
                return 0;
            }
        }

        return -Errno.ENOSPC;
    }

    private bool FindHole(ulong from, ulong last, ulong length, ulong alignment, ulong offset, ref ulong iova)
    {
        var at = from;
        while (at <= last && _reserved.NextHole(at, out var first, out var holeLast) && first <= last)
        {
            holeLast = ulong.Min(holeLast, last);
            while (first <= holeLast)
            {
                var area = _areas.First(first, holeLast);
                var start = first;
                if ((area == null || area.Iova > first) && Fit(ref start, area == null ? holeLast : area.Iova - 1, length, alignment, offset))
                {
                    iova = start;
                    return true;
                }

                if (area == null || area.LastIova >= holeLast)
                {
                    break;
                }

                first = area.LastIova + 1;
            }

            if (holeLast == ulong.MaxValue)
            {
                break;
            }

            at = holeLast + 1;
        }

        return false;
    }

    // __alloc_iova_check_range: moves start up to the alignment; false when the rest of the range is too short.
    private static bool Fit(ref ulong start, ulong last, ulong length, ulong alignment, ulong offset)
    {
        var aligned = start + (alignment - 1);
        if (aligned < start)
        {
            return false;
        }

        aligned = (aligned & ~(alignment - 1)) | offset;
        if (aligned >= last || last - aligned < length - 1)
        {
            return false;
        }

        start = aligned;
        return true;
    }

    // A hole appeared around an IOVA: it may begin where the area below ends.
    private void ForgetAutoHint(ulong iova)
    {
        if (_hint != 0)
        {
            _hint = ulong.Min(_hint, _areas.Before(iova) is { } below ? below.LastIova + 1 : 0);
        }
    }
}
