namespace IommuFd;

/// <summary>
/// Something that lives as long as anything built on it: disposing says "no more from me", the release itself waits for the last dependant. So a
/// graph of these may be disposed in any order and from any thread, and the kernel still sees mapping before address space before context.
/// </summary>
public abstract class Resource : IDisposable
{
    private readonly Resource? _outer;
    private readonly Resource? _inner;
    private const int Freed = int.MinValue / 2;

    private int _holds = 1; // one for the owner, one for each dependant and each call under way
    private int _disposed;

    /// <summary>Adopts the holds that the factory took on what this depends on; they are given back after <see cref="Free"/>, inner first.</summary>
    private protected Resource(Resource? outer = null, Resource? inner = null)
    {
        _outer = outer;
        _inner = inner;
    }

    /// <summary>True once <see cref="Dispose"/> was called; the release may still wait for dependants.</summary>
    public bool IsDisposed => Volatile.Read(ref _disposed) != 0;

    /// <summary>The descriptor that stands for this in another process, or null.</summary>
    internal virtual Native.DescriptorHandle? Descriptor => null;

#pragma warning disable CA1816 // nothing here has a finalizer: the handles have
    /// <summary>
    /// Gives this up. New calls fail with <see cref="ObjectDisposedException"/>; what was built on it keeps working. Safe to repeat and to race.
    /// </summary>
    public void Dispose()
#pragma warning restore CA1816
    {
        if (Interlocked.Exchange(ref _disposed, 1) == 0)
        {
            Disposing();
            Exit();
        }
    }

    /// <summary>Takes a hold, for a dependant or for the length of a call.</summary>
    internal void Enter() => ObjectDisposedException.ThrowIf(!TryEnter(), this);

    /// <summary>Takes a hold unless this was disposed.</summary>
    internal bool TryEnter()
    {
        if (IsDisposed)
        {
            return false;
        }

        // An increment never has to be tried again, however many threads use the object.
        if (Interlocked.Increment(ref _holds) > 0)
        {
            return true;
        }

        _ = Interlocked.Decrement(ref _holds);
        return false;
    }

    /// <summary>Takes a hold although this may be disposed, for a caller that has one already: what could not be undone must stay.</summary>
    internal void Keep() => Interlocked.Increment(ref _holds);

    /// <summary>Gives a hold back; the last one releases.</summary>
    internal void Exit()
    {
        if (Interlocked.Decrement(ref _holds) == 0 && Interlocked.CompareExchange(ref _holds, Freed, 0) == 0)
        {
            Free();
            _inner?.Exit();
            _outer?.Exit();
        }
    }

    /// <summary>Called once, by the disposing thread, before the owner's hold is given back: the place to wake waiters.</summary>
    private protected virtual void Disposing()
    {
    }

    /// <summary>Called once, when nothing depends on this any more. Must not throw.</summary>
    private protected abstract void Free();
}
