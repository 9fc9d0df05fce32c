using System.Numerics;
using System.Runtime.CompilerServices;

namespace IommuFd;

/// <summary>Notes which pages devices write, as long as it lives, and gives them as ranges.</summary>
public sealed class DirtyTracking : Resource
{
    private const int WindowWords = 4096; // 32 KiB of bitmap a call: 1 GiB in pages of 4 KiB

    private readonly HwptPaging _table;
    private readonly ulong[] _window = new ulong[WindowWords];
    private readonly Lock _gate = new();

    private DirtyTracking(HwptPaging table, ulong pageSize)
        : base(table)
    {
        _table = table;
        PageSize = pageSize;
    }

    /// <summary>Bytes that are told apart.</summary>
    public ulong PageSize { get; }

    /// <summary>Starts tracking. For fine pages the address space must not be mapped in large ones (<see cref="Ioas.SetHugePages"/>).</summary>
    /// <param name="table">A table made with IOMMU_HWPT_ALLOC_DIRTY_TRACKING.</param>
    /// <param name="pageSize">Bytes to tell apart, a power of two, the page size or more.</param>
    /// <exception cref="IommuFdException">The table was not made for it.</exception>
    public static DirtyTracking Start(HwptPaging table, ulong pageSize = 4096)
    {
        ArgumentNullException.ThrowIfNull(table);
        if (!BitOperations.IsPow2(pageSize))
        {
            throw new ArgumentException($"0x{pageSize:x} is no power of two.", nameof(pageSize));
        }

        table.Enter();
        try
        {
            table.SetDirtyTracking(true);
            return new DirtyTracking(table, pageSize);
        }
        catch
        {
            table.Exit();
            throw;
        }
    }

    /// <summary>Adds the ranges of <paramref name="within"/> that were written since the last time, ascending; neighbours are one range.</summary>
    /// <exception cref="IommuFdException">EINVAL a part of it is not mapped.</exception>
    public void Collect(IovaRange within, ICollection<IovaRange> ranges)
    {
        ArgumentNullException.ThrowIfNull(ranges);
        lock (_gate)
        {
            IovaRange? open = null;
            ulong start = within.Start & ~(PageSize - 1), windowBytes = WindowWords * 64UL * PageSize;
            while (true)
            {
                ulong left = within.Last - start; // one less than the bytes left
                ulong length = left < windowBytes - 1 ? left + 1 : windowBytes;
                Array.Clear(_window);
                _table.GetDirtyBitmap(start, length, PageSize, _window);
                open = Append(ranges, open, start, (int)(((length - 1) / PageSize / 64) + 1));
                if (left < windowBytes)
                {
                    break;
                }

                start += windowBytes;
            }

            if (open is { } last)
            {
                ranges.Add(last);
            }
        }
    }

    /// <summary>Collects again and again, as a stream.</summary>
    /// <param name="within">What to look at.</param>
    /// <param name="interval">How long to wait between two looks.</param>
    /// <param name="cancellation">Ends the stream.</param>
    public async IAsyncEnumerable<IovaRange> WatchAsync(IovaRange within, TimeSpan interval,
        [EnumeratorCancellation] CancellationToken cancellation = default)
    {
        using PeriodicTimer timer = new(interval);
        List<IovaRange> ranges = [];
        do
        {
            ranges.Clear();
            Collect(within, ranges);
            foreach (IovaRange range in ranges)
            {
                yield return range;
            }
        }
        while (await timer.WaitForNextTickAsync(cancellation).ConfigureAwait(false));
    }

    private IovaRange? Append(ICollection<IovaRange> ranges, IovaRange? open, ulong start, int words)
    {
        for (int word = 0; word < words; word++)
        {
            ulong bits = _window[word];
            ulong at = start + ((ulong)word * 64 * PageSize);
            while (bits != 0)
            {
                int first = BitOperations.TrailingZeroCount(bits), count = BitOperations.TrailingZeroCount(~(bits >> first));
                ulong from = at + ((ulong)first * PageSize), last = from + ((ulong)count * PageSize) - 1;
                if (open is { } previous && previous.Last + 1 == from)
                {
                    open = previous with { Last = last };
                }
                else
                {
                    if (open is { } done)
                    {
                        ranges.Add(done);
                    }

                    open = new IovaRange(from, last);
                }

                bits = first + count >= 64 ? 0 : bits & (ulong.MaxValue << (first + count));
            }
        }

        return open;
    }

    private protected override void Free()
    {
        try
        {
            _table.SetDirtyTracking(false);
        }
        catch (Exception failure) when (failure is IommuFdException or ObjectDisposedException)
        {
            // The table goes with its tracking.
        }
    }
}
