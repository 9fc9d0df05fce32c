using System.Runtime.CompilerServices;
using IommuFd.Native;
using Libc = IommuFd.Native.Libc;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// An eventfd that the kernel signals (struct eventfd_ctx): a descriptor of our own on the caller's eventfd, so that the caller may close its.
/// </summary>
internal sealed unsafe class EventfdContext : IDisposable
{
    private readonly LinuxKernel _real;
    private readonly Lock _gate = new();
    private int _descriptor;

    private EventfdContext(LinuxKernel real, int descriptor)
    {
        _real = real;
        _descriptor = descriptor;
    }

    /// <summary>The descriptor, for waiting; -1 after <see cref="Dispose"/>.</summary>
    public int Descriptor => _descriptor;

    /// <summary>eventfd_ctx_fdget: 0, -EBADF for a closed descriptor, -EINVAL for another kind of file.</summary>
    public static int From(LinuxKernel real, SimulatedProcess process, int descriptor, out EventfdContext? eventfd)
    {
        eventfd = null;
        SimulatedFile? simulated = process.GetFile(descriptor);
        simulated?.Put();
        if (simulated is not null)
        {
            return -Errno.EINVAL;
        }

        int copy = process.DuplicateDescriptor(descriptor);
        if (copy < 0)
        {
            return -Errno.EBADF;
        }

        if (new FileInfo($"/proc/self/fd/{copy}").LinkTarget != "anon_inode:[eventfd]")
        {
            _ = real.Close(copy);
            return -Errno.EINVAL;
        }

        eventfd = new EventfdContext(real, copy);
        return 0;
    }

    /// <summary>eventfd_signal: adds 1 to the counter.</summary>
    public void Signal()
    {
        lock (_gate)
        {
            if (_descriptor >= 0)
            {
                ulong one = 1;
                _ = _real.Write(_descriptor, (nint)Unsafe.AsPointer(ref one), sizeof(ulong));
            }
        }
    }

    /// <summary>Takes the counter; false when it is 0.</summary>
    public bool TryRead()
    {
        lock (_gate)
        {
            if (_descriptor < 0)
            {
                return false;
            }

            var poll = new PollDescriptor { Descriptor = _descriptor, Events = Libc.POLLIN };
            ulong count = 0;
            return _real.Poll((nint)Unsafe.AsPointer(ref poll), 1, 0) > 0
                && _real.Read(_descriptor, (nint)Unsafe.AsPointer(ref count), sizeof(ulong)) == sizeof(ulong);
        }
    }

    /// <summary>eventfd_ctx_put.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            if (_descriptor >= 0)
            {
                _ = _real.Close(_descriptor);
                _descriptor = -1;
            }
        }
    }
}
