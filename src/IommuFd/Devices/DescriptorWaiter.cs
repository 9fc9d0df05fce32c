using System.Threading.Tasks.Sources;
using IommuFd.Native;

namespace IommuFd;

/// <summary>Waits for a descriptor through the reactor: one asynchronous waiter at a time. A wait allocates nothing.</summary>
internal abstract class DescriptorWaiter : IValueTaskSource<ulong>, IReactorClient, IDisposable
{
    private readonly Lock _gate = new();
    private readonly IommuHost _host;
    private readonly DescriptorHandle _handle;
    private readonly object _owner;
    private Reactor? _reactor;
    private ulong _token;
    private ManualResetValueTaskSourceCore<ulong> _source = new() { RunContinuationsAsynchronously = true };
    private CancellationTokenRegistration _registration;
    private CancellationToken _cancellation;
    private bool _waiting;
    private bool _disposed;

    /// <summary>Waits for <paramref name="handle"/>, which this disposes.</summary>
    private protected DescriptorWaiter(IommuHost host, DescriptorHandle handle, object owner)
    {
        _host = host;
        _handle = handle;
        _owner = owner;
        Descriptor = (int)handle.DangerousGetHandle();
    }

    /// <summary>The descriptor; open until <see cref="Dispose"/>.</summary>
    internal int Descriptor { get; }

    /// <summary>What is there now, without waiting; 0 when nothing is.</summary>
    internal abstract ulong Take();

    internal ValueTask<ulong> WaitAsync(CancellationToken cancellation)
    {
        cancellation.ThrowIfCancellationRequested();
        lock (_gate)
        {
            ThrowIfDisposed();
            if (_waiting)
            {
                throw new InvalidOperationException($"{_owner}: one asynchronous wait at a time.");
            }

            ulong count = Take();
            if (count != 0)
            {
                return new ValueTask<ulong>(count);
            }

            if (_reactor is null)
            {
                _reactor = _host.Reactor;
                _token = _reactor.Add(this, Descriptor);
            }

            _source.Reset();
            _waiting = true;
            int result = _reactor.Arm(_token, Descriptor);
            if (result < 0)
            {
                _waiting = false;
                throw Failure.Of("epoll_ctl", result);
            }

            if (cancellation.CanBeCanceled)
            {
                _cancellation = cancellation;
                _registration = cancellation.UnsafeRegister(static (state, token) => ((DescriptorWaiter)state!).Cancel(token), this);
            }

            return new ValueTask<ulong>(this, _source.Version);
        }
    }

    /// <summary>Ends every wait with <see cref="ObjectDisposedException"/> and closes the descriptor once the last call on it has returned.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            if (_disposed)
            {
                return;
            }

            Volatile.Write(ref _disposed, true);
        }

        _reactor?.Remove(_token, Descriptor);
        Disposing();
        _handle.Dispose();
        Fail(new ObjectDisposedException(_owner.ToString()));
    }

    void IReactorClient.OnReadable()
    {
        lock (_gate)
        {
            if (!_waiting || _disposed)
            {
                return;
            }

            ulong count = Take();
            if (count == 0)
            {
                _ = _reactor!.Arm(_token, Descriptor); // a synchronous waiter was quicker
                return;
            }

            _waiting = false;
            _ = _registration.Unregister();
            _source.SetResult(count);
        }
    }

    void IReactorClient.OnClosed() => Fail(new ObjectDisposedException(nameof(IommuHost)));

    ulong IValueTaskSource<ulong>.GetResult(short token) => _source.GetResult(token);

    ValueTaskSourceStatus IValueTaskSource<ulong>.GetStatus(short token) => _source.GetStatus(token);

    void IValueTaskSource<ulong>.OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
        _source.OnCompleted(continuation, state, token, flags);

    /// <summary>Called once before the descriptor is closed: the place to wake synchronous waiters.</summary>
    private protected virtual void Disposing()
    {
    }

    private protected void ThrowIfDisposed() => ObjectDisposedException.ThrowIf(Volatile.Read(ref _disposed), _owner);

    // A callback of an earlier wait may run late: it may only end a wait with the same token.
    private void Cancel(CancellationToken token)
    {
        lock (_gate)
        {
            if (_cancellation == token)
            {
                Fail(new OperationCanceledException(token));
            }
        }
    }

    private void Fail(Exception failure)
    {
        lock (_gate)
        {
            if (_waiting)
            {
                _waiting = false;
                _ = _registration.Unregister();
                _source.SetException(failure);
            }
        }
    }
}
