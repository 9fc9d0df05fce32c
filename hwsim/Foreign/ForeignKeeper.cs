using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using IommuFd.Native;
using Libc = IommuFd.Native.Libc;

namespace IommuFd.HwSim.Foreign;

/// <summary>
/// A second process that holds the listener and waits. When the simulator is gone, killed or done, and programs of it are still running, it answers
/// their calls:
/// the host's files stay the host's, the machine's are -ENODEV, and nobody hangs.
/// </summary>
public static unsafe class ForeignKeeper
{
    private const int Slots = 8;

    /// <summary>
    /// The calls that the simulator has taken and not answered, in memory that outlives it. The kernel writes a call here in the step that takes it,
    /// so that none is lost however suddenly the simulator dies.
    /// </summary>
    internal sealed class InFlight
    {
        private readonly SeccompCall* _slots;

        /// <summary>Over a memory file.</summary>
        public InFlight(int descriptor)
        {
            Descriptor = descriptor;
            _slots = (SeccompCall*)Libc.Mmap(0, (nuint)(Slots * sizeof(SeccompCall)), Libc.PROT_READ | Libc.PROT_WRITE,
                Libc.MAP_SHARED, descriptor, 0);
        }

        /// <summary>The memory file.</summary>
        public int Descriptor { get; }

        /// <summary>A new one, whose descriptor child processes inherit.</summary>
        public static InFlight Create()
        {
            var descriptor = Libc.MemFdCreate("calls", 0);
            _ = Libc.Ftruncate(descriptor, Slots * sizeof(SeccompCall));
            return new InFlight(descriptor);
        }

        /// <summary>The call that a server thread has in hand; its id is 0 for none.</summary>
        public SeccompCall* Slot(int thread) => _slots + thread;
    }

    /// <summary>Starts the keeper of a run.</summary>
    /// <param name="command">How this process starts itself as a keeper.</param>
    /// <param name="listener">The listener.</param>
    /// <param name="calls">The calls in hand.</param>
    /// <param name="firstDescriptor">First number of the reserved range.</param>
    /// <returns>The descriptor that tells the keeper, by closing, that the simulator is gone.</returns>
    internal static int Start(IReadOnlyList<string> command, int listener, InFlight calls, int firstDescriptor)
    {
        var kernel = new LinuxKernel();
        var pair = stackalloc int[2];
        if (kernel.SocketPair(Libc.SOCK_STREAM, (nint)pair) < 0)
        {
            return -1;
        }

        _ = Libc.Fcntl(pair[0], Libc.F_SETFD, 1);
        var inherited = Libc.Fcntl(listener, Libc.F_DUPFD, 3);
        var info = new ProcessStartInfo(command[0]) { UseShellExecute = false, RedirectStandardInput = true, RedirectStandardOutput = true,
            RedirectStandardError = true };
        foreach (var argument in command.Skip(1)
            .Concat(((int[])[inherited, pair[1], calls.Descriptor, firstDescriptor]).Select(static n => n.ToString(CultureInfo.InvariantCulture))))
        {
            info.ArgumentList.Add(argument);
        }

        using var keeper = Process.Start(info);
        _ = Libc.Close(pair[1]);
        _ = Libc.Close(inherited);
        _ = Libc.Close(calls.Descriptor);
        return pair[0];
    }

    /// <summary>The keeper's side.</summary>
    /// <param name="arguments">What <see cref="Start"/> appended.</param>
    public static int Run(ReadOnlySpan<string> arguments)
    {
        if (arguments.Length != 4 || SystemCalls.Here is not { } calls)
        {
            return 127;
        }

        using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, static context => context.Cancel = true);
        using var quit = PosixSignalRegistration.Create(PosixSignal.SIGQUIT, static context => context.Cancel = true);
        using var hangup = PosixSignalRegistration.Create(PosixSignal.SIGHUP, static context => context.Cancel = true);
        var numbers = new int[4];
        for (var i = 0; i < numbers.Length; i++)
        {
            numbers[i] = int.Parse(arguments[i], CultureInfo.InvariantCulture);
            _ = i < 3 ? Libc.Fcntl(numbers[i], Libc.F_SETFD, 1) : 0;
        }

        using var listener = new SeccompListener(numbers[0]);
        byte none;
        while (Libc.Read(numbers[1], (nint)(&none), 1) < 0 && Marshal.GetLastPInvokeError() == Errno.EINTR)
        {
        }

        var inFlight = new InFlight(numbers[2]);
        for (var thread = 0; thread < Slots; thread++)
        {
            if (inFlight.Slot(thread)->Id != 0)
            {
                Answer(listener, in *inFlight.Slot(thread), calls, numbers[3]);
            }
        }

        Serve(listener, calls, numbers[3]);
        return 0;
    }

    private static void Serve(SeccompListener listener, SystemCalls calls, int firstDescriptor)
    {
        var kernel = new LinuxKernel();
        while (true)
        {
            var poll = new PollDescriptor { Descriptor = listener.Descriptor, Events = Libc.POLLIN };
            if (kernel.Poll((nint)(&poll), 1, -1) < 0)
            {
                continue;
            }

            if ((poll.Returned & Libc.POLLIN) == 0)
            {
                return; // nobody is left
            }

            SeccompCall call;
            if (listener.Receive(&call) >= 0)
            {
                Answer(listener, in call, calls, firstDescriptor);
            }
        }
    }

    private static void Answer(SeccompListener listener, in SeccompCall call, SystemCalls calls, int firstDescriptor)
    {
        if (IsMachines(in call, calls, firstDescriptor))
        {
            listener.Answer(call.Id, -Errno.ENODEV);
        }
        else
        {
            listener.Continue(call.Id);
        }
    }

    private static bool IsMachines(in SeccompCall call, SystemCalls calls, int firstDescriptor)
    {
        if (call.Number == calls.openat || call.Number == calls.open || call.Number == calls.openat2 || call.Number == calls.creat)
        {
            const int Room = 256;
            var path = stackalloc byte[Room];
            var address = call.Arguments[call.Number == calls.open || call.Number == calls.creat ? 0 : 1];
            var here = new Libc.IoVector { Base = path, Length = (nuint)ulong.Min(Room, 4096 - (address % 4096)) };
            var there = new Libc.IoVector { Base = (void*)address, Length = here.Length };
            var length = Libc.Syscall(Libc.SYS_process_vm_readv, call.Thread, (nint)(&here), 1, (nint)(&there), 1, 0);
            var text = new ReadOnlySpan<byte>(path, (int)nint.Max(0, length));
            return text.StartsWith("/dev/iommu"u8) || text.StartsWith("/dev/vfio/"u8);
        }

        if (call.Number == calls.close || call.Number == calls.close_range || call.Number == calls.dup2 || call.Number == calls.dup3
            || call.Number == calls.execve || call.Number == calls.execveat)
        {
            return false;
        }

        if (call.Number == calls.mmap)
        {
            return (int)call.Arguments[4] >= firstDescriptor || call.Arguments[5] >= (ulong)SeccompFilter.RegionBias;
        }

        // An ioctl of another driver that has the same type goes to a device node, not to a socket.
        var descriptor = (int)call.Arguments[0];
        return descriptor >= firstDescriptor || call.Number == calls.pread64 || call.Number == calls.pwrite64
            || (call.Number == calls.ioctl
                && new FileInfo($"/proc/{call.Thread}/fd/{descriptor}").LinkTarget?.StartsWith("socket:", StringComparison.Ordinal) == true);
    }
}
