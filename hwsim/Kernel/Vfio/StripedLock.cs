namespace IommuFd.HwSim.Kernel;

/// <summary>
/// A lock that is often taken for reading, by several threads at once: a reader takes one of its parts, a writer all of them (struct rw_semaphore).
/// </summary>
internal sealed class StripedLock
{
    private const int Parts = 4;
    private readonly Lock[] _parts = [new(), new(), new(), new()];

    /// <summary>What a reader on this thread holds.</summary>
    public Lock Reader => _parts[Environment.CurrentManagedThreadId % Parts];

    /// <summary>down_write; may be nested.</summary>
    public void Enter()
    {
        foreach (Lock part in _parts)
        {
            part.Enter();
        }
    }

    /// <summary>up_write.</summary>
    public void Exit()
    {
        foreach (Lock part in _parts)
        {
            part.Exit();
        }
    }

    /// <summary>down_write until the end of a <c>using</c>.</summary>
    public Writing Write()
    {
        Enter();
        return new Writing(this);
    }

    /// <summary>Ends with <see cref="Exit"/>.</summary>
    internal readonly ref struct Writing(StripedLock held)
    {
        public void Dispose() => held.Exit();
    }
}
