using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;

namespace IommuFd;

/// <summary>
/// The page requests of devices, as they come: of one address space (<see cref="UserTableSpace.Faults"/>), or of one fault queue of the kernel.
/// </summary>
public abstract class PageRequestStream : Resource
{
    private readonly Lock _requestGate = new();
    private readonly Queue<PageRequest> _ready = new();

    private protected PageRequestStream(Resource outer)
        : base(outer)
    {
    }

    /// <summary>The page requests of devices, as they come. Every one has to be answered; see <see cref="PageRequest"/>.</summary>
    /// <param name="cancellation">Ends the stream.</param>
    /// <exception cref="ObjectDisposedException">The queue was disposed.</exception>
    public async IAsyncEnumerable<PageRequest> ReadAllAsync([EnumeratorCancellation] CancellationToken cancellation = default)
    {
        while (true)
        {
            while (TryReadRequest(out PageRequest? request))
            {
                yield return request;
            }

            await WaitAsync(cancellation).ConfigureAwait(false);
        }
    }

    /// <summary>Waits for the next page request in the calling thread.</summary>
    /// <param name="timeout">How long; <see cref="Timeout.InfiniteTimeSpan"/> for ever.</param>
    /// <returns>Null after the timeout.</returns>
    /// <exception cref="ObjectDisposedException">The queue was disposed.</exception>
    public PageRequest? ReadRequest(TimeSpan timeout)
    {
        if (TryReadRequest(out PageRequest? request))
        {
            return request;
        }

        using CancellationTokenSource limit = new(timeout);
        try
        {
            do
            {
                WaitAsync(limit.Token).AsTask().GetAwaiter().GetResult();
            }
            while (!TryReadRequest(out request));
            return request;
        }
        catch (OperationCanceledException)
        {
            return null;
        }
    }

    /// <summary>The next page request that is there now.</summary>
    /// <exception cref="ObjectDisposedException">The queue was disposed.</exception>
    public bool TryReadRequest([NotNullWhen(true)] out PageRequest? request)
    {
        ObjectDisposedException.ThrowIf(IsDisposed, this);
        lock (_requestGate)
        {
            if (_ready.Count == 0)
            {
                try
                {
                    Collect(_ready);
                }
                catch (IommuFdException) when (IsDisposed)
                {
                    ObjectDisposedException.ThrowIf(true, this); // while we read
                }
            }

            return _ready.TryDequeue(out request);
        }
    }

    /// <summary>Waits until there is something to read. One wait at a time.</summary>
    /// <exception cref="OperationCanceledException">The wait was cancelled.</exception>
    /// <exception cref="ObjectDisposedException">The queue was disposed, before or during the wait.</exception>
    public abstract ValueTask WaitAsync(CancellationToken cancellation = default);

    /// <summary>Reads what the kernel has, without waiting.</summary>
    private protected abstract void Collect(Queue<PageRequest> ready);
}

/// <summary>Who hands an answer to the kernel.</summary>
internal interface IPageResponder
{
    /// <summary>0 or -errno.</summary>
    int Respond(PageRequest request, bool success);
}
