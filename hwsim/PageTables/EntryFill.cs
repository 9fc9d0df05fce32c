using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace IommuFd.HwSim.PageTables;

/// <summary>Writes runs of entries. The JIT does not vectorise such loops by itself; by hand they run at the speed of the store port.</summary>
// SAFETY: the caller passes a table that holds the whole run.
internal static unsafe class EntryFill
{
    /// <summary>entries[i] = first + i * step.</summary>
    internal static void Linear(ulong* entries, int count, ulong first, ulong step)
    {
        var i = 0;
        if (Vector512.IsHardwareAccelerated && count >= 8)
        {
            var value = Vector512.Create(first) + (Vector512.Create(0UL, 1, 2, 3, 4, 5, 6, 7) * step);
            var advance = Vector512.Create(step * 8);
            // Few instructions for a store: then the processor sees the next table before it has stored this one.
            var advance4 = Vector512.Create(step * 32);
            var (second, third, fourth) = (value + advance, value + advance + advance, value + advance + advance + advance);
            for (; i + 32 <= count; i += 32)
            {
                value.Store(entries + i);
                second.Store(entries + i + 8);
                third.Store(entries + i + 16);
                fourth.Store(entries + i + 24);
                value += advance4;
                second += advance4;
                third += advance4;
                fourth += advance4;
            }

            for (; i + 8 <= count; i += 8, value += advance)
                value.Store(entries + i);
        }
        else if (Vector256.IsHardwareAccelerated && count >= 4)
        {
            var value = Vector256.Create(first, first + step, first + (step * 2), first + (step * 3));
            var advance = Vector256.Create(step * 4);
            for (; i + 4 <= count; i += 4, value += advance)
                value.Store(entries + i);
        }

        for (; i < count; i++)
            entries[i] = first + ((ulong)i * step);
    }

    /// <summary>The same for 4-byte entries.</summary>
    internal static void Linear(uint* entries, int count, uint first, uint step)
    {
        for (var i = 0; i < count; i++)
            entries[i] = first + ((uint)i * step);
    }

    /// <summary>Number of entries from the first on that are zero, at most <paramref name="count"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int CountZero<T>(T* entries, int count)
        where T : unmanaged, System.Numerics.INumber<T>
    {
        if (count == 1)
            return T.IsZero(*entries) ? 1 : 0;
        var used = new ReadOnlySpan<T>(entries, count).IndexOfAnyExcept(T.Zero);
        return used < 0 ? count : used;
    }

    /// <summary>Number of entries from the first on that are not zero, at most <paramref name="count"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int CountUsed<T>(T* entries, int count)
        where T : unmanaged, System.Numerics.INumber<T>
    {
        var zero = new ReadOnlySpan<T>(entries, count).IndexOf(T.Zero);
        return zero < 0 ? count : zero;
    }
}
