namespace IommuFd.HwSim.Kernel;

/// <summary>
/// A lock that is often taken for reading, by several threads at once: a reader takes one of its parts, a writer all of them (struct rw_semaphore).
/// A reader may not read again inside: it can be on another processor then, and wait for a writer that waits for it.
/// </summary>
internal sealed class StripedLock
{
    private const int Parts = 4, Apart = 128;
    private readonly Lock[] _parts = new Lock[Parts];

    // Between the parts, so that they do not share lines of the processors' caches.
    private readonly byte[][] _between = new byte[Parts][];

    public StripedLock()
    {
        for (int i = 0; i < Parts; i++)
        {
            _parts[i] = new Lock();
            _between[i] = new byte[Apart];
        }
    }

    /// <summary>What a reader holds: threads that run at the same time are on different processors.</summary>
    public Lock Reader => _parts[Thread.GetCurrentProcessorId() % Parts];

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
