using System.Runtime.InteropServices;
using IommuFd.Native;
using Libc = IommuFd.Native.Libc;

namespace IommuFd.HwSim.Foreign;

/// <summary>struct seccomp_notif (linux/seccomp.h): a system call that waits for its answer.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct SeccompCall
{
    /// <summary>Names the call until it is answered.</summary>
    public ulong Id;

    /// <summary>The thread, in this process's numbering.</summary>
    public int Thread;

    /// <summary>Always 0.</summary>
    public uint Flags;

    /// <summary>The call's number.</summary>
    public int Number;

    /// <summary>AUDIT_ARCH_*.</summary>
    public uint Architecture;

    /// <summary>Where the call was made.</summary>
    public ulong InstructionPointer;

    /// <summary>The six arguments.</summary>
    public fixed ulong Arguments[6];
}

/// <summary>The listener of a seccomp filter: takes calls, answers them, puts descriptors into the caller.</summary>
/// <param name="descriptor">The listener's descriptor; this object owns it.</param>
internal sealed unsafe class SeccompListener(int descriptor) : IDisposable
{
    private const uint NOTIF_RECV = 0xc0502100, NOTIF_SEND = 0xc0182101, NOTIF_ID_VALID = 0x40082102, NOTIF_ADDFD = 0x40182103,
        NOTIF_SET_FLAGS = 0x40082104;
    private const uint FLAG_CONTINUE = 1, ADDFD_FLAG_SETFD = 1, ADDFD_FLAG_SEND = 2;
    private const int FD_SYNC_WAKE_UP = 1;

    private int _descriptor = descriptor;

    /// <summary>The descriptor, for poll(2): POLLIN when a call waits, POLLHUP when nobody runs under the filter any more.</summary>
    public int Descriptor => _descriptor;

    /// <summary>Asks the kernel to switch straight to the one who is woken: the two sides take turns. Linux 6.6; earlier ones do without.</summary>
    public void TakeTurns() => _ = Libc.Ioctl(_descriptor, NOTIF_SET_FLAGS, FD_SYNC_WAKE_UP);

    /// <summary>
    /// Waits for a call and has the kernel write it at <paramref name="call"/>. 0, -ENOENT when the caller died meanwhile, -EINTR, or the error that
    /// ends serving.
    /// </summary>
    public int Receive(SeccompCall* call)
    {
        *call = default;
        return Result(Libc.Ioctl(_descriptor, NOTIF_RECV, (nint)call));
    }

    /// <summary>False when the caller is gone, so that its number may be another thread's by now.</summary>
    public bool IsValid(ulong id) => Libc.Ioctl(_descriptor, NOTIF_ID_VALID, (nint)(&id)) == 0;

    /// <summary>Answers a call: a result of 0 or more, or -errno (-4095..-1).</summary>
    public void Answer(ulong id, long result)
    {
        var failed = result is < 0 and > -4096;
        var response = new Response { Id = id, Value = failed ? 0 : result, Error = failed ? (int)result : 0 };
        _ = Libc.Ioctl(_descriptor, NOTIF_SEND, (nint)(&response));
    }

    /// <summary>Lets the host's kernel do the call.</summary>
    public void Continue(ulong id)
    {
        var response = new Response { Id = id, Flags = FLAG_CONTINUE };
        _ = Libc.Ioctl(_descriptor, NOTIF_SEND, (nint)(&response));
    }

    /// <summary>Puts a duplicate of a descriptor of ours into the caller.</summary>
    /// <param name="id">The call.</param>
    /// <param name="source">The descriptor here.</param>
    /// <param name="target">The number there, or -1 for the lowest free one.</param>
    /// <param name="closeOnExec">FD_CLOEXEC there.</param>
    /// <param name="answer">True: the number becomes the call's result in the same step.</param>
    /// <returns>The number there, or -errno.</returns>
    public int AddDescriptor(ulong id, int source, int target, bool closeOnExec, bool answer)
    {
        var request = new AddFd
        {
            Id = id,
            Flags = (target >= 0 ? ADDFD_FLAG_SETFD : 0) | (answer ? ADDFD_FLAG_SEND : 0),
            Source = (uint)source,
            Target = target >= 0 ? (uint)target : 0,
            TargetFlags = closeOnExec ? (uint)Libc.O_CLOEXEC : 0,
        };
        return Result(Libc.Ioctl(_descriptor, NOTIF_ADDFD, (nint)(&request)));
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        var open = Interlocked.Exchange(ref _descriptor, -1);
        if (open >= 0)
        {
            _ = Libc.Close(open);
        }
    }

    private static int Result(int result) => result >= 0 ? result : -Marshal.GetLastPInvokeError();

    [StructLayout(LayoutKind.Sequential)]
    private struct Response
    {
        public ulong Id;
        public long Value;
        public int Error;
        public uint Flags;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct AddFd
    {
        public ulong Id;
        public uint Flags, Source, Target, TargetFlags;
    }
}
