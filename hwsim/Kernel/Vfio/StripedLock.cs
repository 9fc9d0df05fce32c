using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// A lock that is often taken for reading, by several threads at once, and seldom for writing (struct percpu_rw_semaphore). Readers do not wait for
/// each other, on whichever processors they are.
/// </summary>
/// <remarks>A reader may not write inside; a writer may read and write inside.</remarks>
internal sealed class StripedLock
{
    private readonly CallCount _readers = new();
    private readonly Lock _gate = new();
    private int _writers;

    /// <summary>down_read.</summary>
    /// <returns>What <see cref="ExitRead"/> must be given.</returns>
    public int EnterRead()
    {
        int entered = _readers.Enter();
        return Volatile.Read(ref _writers) == 0 ? entered : EnterBehindWriter(entered);
    }

    /// <summary>up_read.</summary>
    public void ExitRead(int entered) => _readers.Exit(entered);

    /// <summary>down_write; may be nested.</summary>
    public void Enter()
    {
        _gate.Enter();
        if (Interlocked.Increment(ref _writers) != 1)
        {
            return;
        }

        SpinWait spin = default;
        while (!_readers.IsZero)
        {
            spin.SpinOnce();
        }
    }

    /// <summary>up_write.</summary>
    public void Exit()
    {
        _ = Interlocked.Decrement(ref _writers);
        _gate.Exit();
    }

    /// <summary>down_write until the end of a <c>using</c>.</summary>
    public Writing Write()
    {
        Enter();
        return new Writing(this);
    }

    // The gate is the writer's until it is done.
    private int EnterBehindWriter(int entered)
    {
        _readers.Exit(entered);
        lock (_gate)
        {
            return _readers.Enter();
        }
    }

    /// <summary>Ends with <see cref="Exit"/>.</summary>
    internal readonly ref struct Writing(StripedLock held)
    {
        public void Dispose() => held.Exit();
    }
}
