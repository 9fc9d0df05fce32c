using System.Runtime.CompilerServices;
using IommuFd.Native;
using Libc = IommuFd.Native.Libc;

namespace IommuFd.HwSim.Kernel;

/// <summary>Eventfds that the kernel waits for (drivers/vfio/virqfd.c): one thread a machine, started when the first one is watched.</summary>
internal sealed unsafe class EventfdWatcher(LinuxKernel real) : IDisposable
{
    private readonly Lock _gate = new();
    private readonly Dictionary<ulong, EventfdWatch> _watches = [];
    private int _epoll = -1;
    private int _wake = -1;
    private ulong _next = 1;
    private Thread? _thread;

    /// <summary>Calls <paramref name="action"/> whenever the eventfd's counter is not 0; the counter is taken. The watch owns the eventfd.</summary>
    public EventfdWatch Watch(EventfdContext eventfd, Action action)
    {
        lock (_gate)
        {
            if (_thread is null)
            {
                _epoll = real.EpollCreate(Libc.EPOLL_CLOEXEC);
                _wake = real.EventFd(0, Libc.EFD_CLOEXEC | Libc.EFD_NONBLOCK);
                _ = real.EpollControl(_epoll, Libc.EPOLL_CTL_ADD, _wake, Libc.EPOLLIN, 0);
                _thread = new Thread(Run) { IsBackground = true, Name = "eventfd watcher" };
                _thread.Start();
            }

            var watch = new EventfdWatch(this, _next++, eventfd, action);
            _watches[watch.Token] = watch;
            _ = real.EpollControl(_epoll, Libc.EPOLL_CTL_ADD, eventfd.Descriptor, Libc.EPOLLIN, watch.Token);
            return watch;
        }
    }

    /// <summary>Ends the thread.</summary>
    public void Dispose()
    {
        Thread? thread;
        lock (_gate)
        {
            thread = _thread;
            _thread = null;
            if (thread is not null)
            {
                ulong one = 1;
                _ = real.Write(_wake, (nint)Unsafe.AsPointer(ref one), sizeof(ulong));
            }
        }

        if (thread is not null)
        {
            thread.Join();
            _ = real.Close(_epoll);
            _ = real.Close(_wake);
        }
    }

    internal void Forget(EventfdWatch watch)
    {
        lock (_gate)
        {
            if (_watches.Remove(watch.Token) && _thread is not null)
            {
                _ = real.EpollControl(_epoll, Libc.EPOLL_CTL_DEL, watch.Eventfd.Descriptor, 0, 0);
            }
        }

        watch.Eventfd.Dispose();
    }

    private void Run()
    {
        EpollReady* ready = stackalloc EpollReady[16];
        while (true)
        {
            int count = real.EpollWait(_epoll, (nint)ready, 16, -1);
            for (int i = 0; i < count; i++)
            {
                if (ready[i].Token == 0)
                {
                    return;
                }

                EventfdWatch? watch;
                lock (_gate)
                {
                    watch = _watches.GetValueOrDefault(ready[i].Token);
                }

                if (watch is not null && watch.Eventfd.TryRead())
                {
                    watch.Action();
                }
            }
        }
    }
}

/// <summary>One eventfd that is waited for, until it is disposed.</summary>
internal sealed class EventfdWatch(EventfdWatcher watcher, ulong token, EventfdContext eventfd, Action action) : IDisposable
{
    internal ulong Token { get; } = token;

    internal EventfdContext Eventfd { get; } = eventfd;

    internal Action Action { get; } = action;

    /// <summary>Ends the watch.</summary>
    public void Dispose() => watcher.Forget(this);
}
