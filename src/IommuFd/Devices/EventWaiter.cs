using System.Runtime.InteropServices;
using System.Threading.Tasks.Sources;
using IommuFd.Native;

namespace IommuFd;

/// <summary>
/// An eventfd and whoever waits for it: one asynchronous waiter at a time, any number of synchronous ones. A wait allocates nothing.
/// </summary>
internal sealed unsafe class EventWaiter : IValueTaskSource<ulong>, IReactorClient, IDisposable
{
    private readonly Lock _gate = new();
    private readonly Func<Reactor> _reactorOf;
    private readonly EventFdHandle _event;
    private readonly int _fd;
    private readonly object _owner;
    private Reactor? _reactor;
    private ulong _token;
    private ManualResetValueTaskSourceCore<ulong> _source = new() { RunContinuationsAsynchronously = true };
    private CancellationTokenRegistration _registration;
    private CancellationToken _cancellation;
    private bool _waiting;
    private bool _disposed;

    internal EventWaiter(IommuHost host, object owner)
    {
        _reactorOf = () => host.Reactor;
        _owner = owner;
        _fd = Failure.Check(host.Kernel.EventFd(0, Libc.EFD_CLOEXEC | Libc.EFD_NONBLOCK), "eventfd");
        _event = new EventFdHandle(host.Kernel, _fd);
    }

    /// <summary>The descriptor to hand to the kernel.</summary>
    internal int Descriptor => _fd;

    /// <summary>Takes the count without waiting; 0 when nothing happened.</summary>
    internal ulong Take()
    {
        ulong count = 0;
        nint result;
        do
        {
            result = _event.Read((nint)(&count), sizeof(ulong));
        }
        while (result == -Errno.EINTR);

        return result == sizeof(ulong) ? count : 0;
    }

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
                _reactor = _reactorOf();
                _token = _reactor.Add(this, _fd);
            }

            _source.Reset();
            _waiting = true;
            int result = _reactor.Arm(_token, _fd);
            if (result < 0)
            {
                _waiting = false;
                throw Failure.Of("epoll_ctl", result);
            }

            if (cancellation.CanBeCanceled)
            {
                _cancellation = cancellation;
                _registration = cancellation.UnsafeRegister(static (state, token) => ((EventWaiter)state!).Cancel(token), this);
            }

            return new ValueTask<ulong>(this, _source.Version);
        }
    }

    /// <summary>Waits in the calling thread; 0 after <paramref name="timeout"/>.</summary>
    internal ulong Wait(TimeSpan timeout)
    {
        long deadline = timeout == Timeout.InfiniteTimeSpan ? long.MaxValue : Environment.TickCount64 + (long)Math.Ceiling(timeout.TotalMilliseconds);
        while (true)
        {
            ThrowIfDisposed();
            ulong count = Take();
            if (count != 0)
            {
                return count;
            }

            long left = deadline == long.MaxValue ? -1 : deadline - Environment.TickCount64;
            if (left <= 0 && deadline != long.MaxValue)
            {
                return 0;
            }

            int result = _event.Poll(Libc.POLLIN, (int)Math.Min(left, int.MaxValue));
            if (result < 0 && result is not (-Errno.EINTR or -Errno.EBADF))
            {
                throw Failure.Of("poll", result);
            }
        }
    }

    /// <summary>Wakes every waiter with <see cref="ObjectDisposedException"/> and closes the eventfd once the last synchronous one has left.</summary>
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

        _reactor?.Remove(_token, _fd);
        ulong one = 1;
        _ = _event.Write((nint)(&one), sizeof(ulong)); // nobody takes it any more: it stays readable for every poll
        _event.Dispose();
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
                _ = _reactor!.Arm(_token, _fd); // a synchronous waiter was quicker
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

    private void ThrowIfDisposed() => ObjectDisposedException.ThrowIf(Volatile.Read(ref _disposed), _owner);

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
