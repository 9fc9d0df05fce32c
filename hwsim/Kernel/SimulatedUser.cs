namespace IommuFd.HwSim.Kernel;

/// <summary>A user of the machine (struct user_struct): all processes of one user count their locked memory together here.</summary>
/// <param name="userId">The uid.</param>
public sealed class SimulatedUser(uint userId)
{
    /// <summary>The uid.</summary>
    public uint UserId { get; } = userId;

    /// <summary>Pages charged to the user.</summary>
    public PageCounter LockedPages { get; } = new();
}

/// <summary>A count of pages that can be bounded.</summary>
public sealed class PageCounter
{
    private long _pages;

    /// <summary>The count.</summary>
    public ulong Pages => (ulong)Interlocked.Read(ref _pages);

    /// <summary>Adds unless the count would pass <paramref name="limit"/>.</summary>
    public bool TryAdd(ulong pages, ulong limit)
    {
        var seen = Interlocked.Read(ref _pages);
        while (true)
        {
            if ((ulong)seen + pages > limit)
            {
                return false;
            }

            var found = Interlocked.CompareExchange(ref _pages, seen + (long)pages, seen);
            if (found == seen)
            {
                return true;
            }

            seen = found;
        }
    }

    /// <summary>Adds without a bound.</summary>
    public void Add(ulong pages) => Interlocked.Add(ref _pages, (long)pages);

    /// <summary>Takes away.</summary>
    public void Subtract(ulong pages) => Interlocked.Add(ref _pages, -(long)pages);
}
