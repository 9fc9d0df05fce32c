using System.Runtime.InteropServices;
using IommuFd.Native;

namespace IommuFd;

/// <summary>
/// The one thread that waits for descriptors. It only reads counters and completes waiters; their continuations run on the thread pool, never here.
/// Descriptors are armed for one event at a time (EPOLLONESHOT), so nothing is reported that nobody waits for.
/// </summary>
internal sealed unsafe class Reactor : IDisposable
{
    private const uint OneShot = 1u << 30;
    private const int Batch = 64;

    private readonly Lock _gate = new();
    private readonly Dictionary<ulong, IReactorClient> _clients = [];
    private readonly EpollHandle _epoll;
    private readonly EventFdHandle _wake;
    private readonly Thread _thread;
    private ulong _nextToken = 1; // 0 is the wake descriptor
    private bool _stopping;

    internal Reactor(IKernel kernel)
    {
        int epoll = Failure.Check(kernel.EpollCreate(Libc.EPOLL_CLOEXEC), "epoll_create1");
        _epoll = new EpollHandle(kernel, epoll);
        int wake = kernel.EventFd(0, Libc.EFD_CLOEXEC | Libc.EFD_NONBLOCK);
        if (wake < 0)
        {
            _epoll.Dispose();
            throw Failure.Of("eventfd", wake);
        }

        _wake = new EventFdHandle(kernel, wake);
        _ = Failure.Check(_epoll.Control(Libc.EPOLL_CTL_ADD, wake, Libc.EPOLLIN, 0), "epoll_ctl");
        _thread = new Thread(Loop) { IsBackground = true, Name = "IommuFd reactor" };
        _thread.UnsafeStart(); // the context of whoever waits first must not stick to this thread
    }

    /// <summary>Registers a descriptor, not yet armed. The client keeps it open until <see cref="Remove"/>.</summary>
    internal ulong Add(IReactorClient client, int fd)
    {
        ulong token;
        lock (_gate)
        {
            token = _nextToken++;
            _clients.Add(token, client);
        }

        int result = _epoll.Control(Libc.EPOLL_CTL_ADD, fd, OneShot, token);
        if (result < 0)
        {
            lock (_gate)
            {
                _ = _clients.Remove(token);
            }

            throw Failure.Of("epoll_ctl", result);
        }

        return token;
    }

    /// <summary>Asks for one report when the descriptor is readable. 0 or -errno.</summary>
    internal int Arm(ulong token, int fd) => _epoll.Control(Libc.EPOLL_CTL_MOD, fd, Libc.EPOLLIN | OneShot, token);

    /// <summary>Forgets a descriptor; it must still be open. A report that is under way may still arrive.</summary>
    internal void Remove(ulong token, int fd)
    {
        lock (_gate)
        {
            if (!_clients.Remove(token))
            {
                return;
            }
        }

        _ = _epoll.Control(Libc.EPOLL_CTL_DEL, fd, 0, token);
    }

    /// <summary>Ends the thread; every waiter is told that its host is gone.</summary>
    public void Dispose()
    {
        Volatile.Write(ref _stopping, true);
        ulong one = 1;
        _ = _wake.Write((nint)(&one), sizeof(ulong));
        if (Thread.CurrentThread != _thread)
        {
            _thread.Join();
        }

        IReactorClient[] clients;
        lock (_gate)
        {
            clients = [.. _clients.Values];
            _clients.Clear();
        }

        foreach (IReactorClient client in clients)
        {
            client.OnClosed();
        }

        _wake.Dispose();
        _epoll.Dispose();
    }

    private void Loop()
    {
        // SAFETY: native memory for Batch entries, freed when the loop ends; the kernel fills at most Batch.
        EpollReady* ready = (EpollReady*)NativeMemory.Alloc(Batch, (nuint)sizeof(EpollReady));
        while (!Volatile.Read(ref _stopping))
        {
            int count = _epoll.Wait((nint)ready, Batch, -1);
            if (count is -Errno.EINTR or -Errno.EAGAIN)
            {
                continue;
            }

            if (count < 0)
            {
                break;
            }

            for (int i = 0; i < count; i++)
            {
                IReactorClient? client;
                lock (_gate)
                {
                    _ = _clients.TryGetValue(ready[i].Token, out client);
                }

                client?.OnReadable();
            }
        }

        NativeMemory.Free(ready);
    }
}

/// <summary>
/// Something that waits for a descriptor. Called on the reactor's thread: must not block, must not throw, must not run foreign code.
/// </summary>
internal interface IReactorClient
{
    /// <summary>The descriptor is readable (or in error); it has to be armed again for another report.</summary>
    void OnReadable();

    /// <summary>The host is being disposed: no report will come any more.</summary>
    void OnClosed();
}
