using IommuFd.Native;

namespace IommuFd;

/// <summary>An eventfd and whoever waits for it: one asynchronous waiter at a time, any number of synchronous ones.</summary>
internal sealed unsafe class EventWaiter : DescriptorWaiter
{
    private readonly EventFdHandle _event;

    internal EventWaiter(IommuHost host, object owner)
        : this(host, new EventFdHandle(host.Kernel, Failure.Check(host.Kernel.EventFd(0, Libc.EFD_CLOEXEC | Libc.EFD_NONBLOCK), "eventfd")), owner)
    {
    }

    private EventWaiter(IommuHost host, EventFdHandle handle, object owner)
        : base(host, handle, owner) => _event = handle;

    /// <summary>Takes the count without waiting; 0 when nothing happened.</summary>
    internal override ulong Take()
    {
        // SAFETY: eight bytes on the stack, as an eventfd gives.
        ulong count = 0;
        nint result;
        do
        {
            result = _event.Read((nint)(&count), sizeof(ulong));
        }
        while (result == -Errno.EINTR);

        return result == sizeof(ulong) ? count : 0;
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

    // Nobody takes it any more: it stays readable for every poll.
    private protected override void Disposing()
    {
        ulong one = 1;
        _ = _event.Write((nint)(&one), sizeof(ulong));
    }
}
