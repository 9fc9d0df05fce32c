using IommuFd.Native;
using Libc = IommuFd.Native.Libc;

namespace IommuFd.HwSim.Foreign;

/// <summary>The ends of things: files that were closed, processes that ended, the last program of the filter.</summary>
internal sealed unsafe partial class ForeignSupervisor
{
    private const ulong HangupsToken = ulong.MaxValue, ListenerToken = ulong.MaxValue - 1, MappingsToken = ulong.MaxValue - 2;

    private readonly LinuxKernel _real = new();
    private readonly int _ends = Libc.EpollCreate(Libc.EPOLL_CLOEXEC);
    private readonly ManualResetEventSlim _deserted = new();

    /// <summary>Waits until nobody runs under the filter any more.</summary>
    public bool WaitUntilDeserted(TimeSpan time) => _deserted.Wait(time);

    private void Attach(ForeignProcess process) => _ = _real.EpollControl(_ends, Libc.EPOLL_CTL_ADD, process.Pidfd, Libc.EPOLLIN, (ulong)process.Id);

    private void WatchEnds()
    {
        _ = _real.EpollControl(_ends, Libc.EPOLL_CTL_ADD, _descriptors.Hangups, Libc.EPOLLIN, HangupsToken);
        _ = _real.EpollControl(_ends, Libc.EPOLL_CTL_ADD, _mappings.Closings, Libc.EPOLLIN, MappingsToken);
        _ = _real.EpollControl(_ends, Libc.EPOLL_CTL_ADD, _listener.Descriptor, 0, ListenerToken);
        var ready = stackalloc EpollReady[8];
        while (!_stopped)
        {
            var count = _real.EpollWait(_ends, (nint)ready, 8, 1000);
            for (var i = 0; i < count; i++)
            {
                switch (ready[i].Token)
                {
                    case HangupsToken:
                        _descriptors.Drain();
                        break;
                    case MappingsToken:
                        _mappings.Drain();
                        break;
                    case ListenerToken:
                        _ = _real.EpollControl(_ends, Libc.EPOLL_CTL_DEL, _listener.Descriptor, 0, 0);
                        _deserted.Set();
                        break;
                    default:
                        Ended((int)ready[i].Token);
                        break;
                }
            }
        }
    }

    private void Ended(int id)
    {
        // Its descriptors are closed by now: they are released before it is forgotten.
        Drain();
        lock (_gate)
        {
            if (!_processes.Remove(id, out var process))
            {
                return;
            }

            foreach (var thread in _byThread.Where(pair => pair.Value == process))
            {
                _byThread.TryRemove(thread);
            }

            process.Dispose();
        }
    }
}
