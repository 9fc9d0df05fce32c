using System.Numerics;
using System.Runtime.CompilerServices;

namespace IommuFd.HwSim.PageTables;

/// <summary>Arithmetic on page-size bitmaps (bit n = pages of 2^n bytes).</summary>
internal static class PageSizeChoice
{
    /// <summary>log2 of the largest page that may begin at this address and end by <paramref name="last"/>; -1 when none fits.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int Best(ulong sizes, ulong address, ulong last, ulong output)
    {
        var aligned = address | output;
        // Sizes up to the common alignment: the lowest set bit and all below it. Zero is aligned to everything.
        if (aligned != 0)
            sizes &= aligned ^ (aligned - 1);
        var remaining = last - address;
        if (remaining != ulong.MaxValue)
            sizes &= ulong.MaxValue >> BitOperations.LeadingZeroCount(remaining + 1);
        return sizes == 0 ? -1 : BitOperations.Log2(sizes);
    }

    /// <summary>Number of pages of this size from here on until the range ends or a larger size becomes possible.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static ulong Run(ulong sizes, int sizeLg2, ulong address, ulong last, ulong output)
    {
        var pages = ((last - address) >> sizeLg2) + (((last - address + 1) & ((1UL << sizeLg2) - 1)) == 0 ? 1UL : 0);
        var larger = sizeLg2 == 63 ? 0 : sizes & ~((2UL << sizeLg2) - 1);
        var differ = address ^ output;
        if (differ != 0)
            larger &= differ ^ (differ - 1);
        if (larger == 0)
            return pages;
        var next = 1UL << BitOperations.TrailingZeroCount(larger);
        var toBoundary = (0 - address) & (next - 1);
        if (toBoundary == 0 || toBoundary > last - address || last - address - toBoundary < next - 1)
            return pages;
        return toBoundary >> sizeLg2;
    }
}
