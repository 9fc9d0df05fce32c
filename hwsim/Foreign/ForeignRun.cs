using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using IommuFd.Native;
using Libc = IommuFd.Native.Libc;

namespace IommuFd.HwSim.Foreign;

/// <summary>Runs an ordinary program, unmodified, on a simulated machine.</summary>
internal sealed unsafe class ForeignRun
{
    private const ulong HighestEnd = 20480;
    private const ulong MostReserved = 4096;

    private readonly LinuxKernel _kernel = new();

    /// <summary>How this process starts itself as a stub: file name and first arguments.</summary>
    public required IReadOnlyList<string> StubCommand { get; init; }

    /// <summary>How this process starts itself as a keeper.</summary>
    public required IReadOnlyList<string> KeeperCommand { get; init; }

    /// <summary>The machine.</summary>
    public required IForeignMachine Machine { get; init; }

    /// <summary>Called once the calls are about to be served.</summary>
    public Action<ForeignSupervisor>? Serving { get; init; }

    /// <summary>Runs the program to its end.</summary>
    /// <param name="path">The program's file.</param>
    /// <param name="arguments">Its arguments, the name it is called by first.</param>
    /// <param name="left">What was still open when a process ended, a line each.</param>
    /// <returns>The program's exit status, 128 + N when signal N ended it.</returns>
    /// <exception cref="ForeignException">The program could not be started.</exception>
    public int Run(string path, IReadOnlyList<string> arguments, out IReadOnlyList<string> left)
    {
        var calls = SystemCalls.Here
            ?? throw new ForeignException($"programs can be run on x86-64 and arm64 only, not on {RuntimeInformation.ProcessArchitecture}");
        if (MemoryComplaint() is { } complaint)
        {
            throw new ForeignException(complaint);
        }

        _ = _kernel.GetResourceLimit(Libc.RLIMIT_NOFILE, out _, out var hard);
        var end = (int)ulong.Min(hard, HighestEnd);
        var first = end - (int)ulong.Min(MostReserved, (ulong)end / 4);

        // Grandchildren whose parent ends stay below this process, where reading their memory is permitted.
        _ = Libc.Prctl(Libc.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
        var pair = stackalloc int[2];
        if (_kernel.SocketPair(Libc.SOCK_SEQPACKET, (nint)pair) < 0)
        {
            throw new ForeignException("no socket is left for the program; raise RLIMIT_NOFILE");
        }

        _ = _kernel.Fcntl(pair[0], Libc.F_SETFD, 1);
        using var stub = Start(pair[1], first, end, path, arguments);
        _ = Libc.Close(pair[1]);
        var view = Expect(pair[0], "view", stub);
        var mirror = new MachineView(Machine, view, Libc.EffectiveUserId() == 0);
        Send(pair[0], mirror.Populate());
        _ = Expect(pair[0], "ready", stub, descriptor: false);
        var listener = Expect(pair[0], "listener", stub);
        using var supervisor = new ForeignSupervisor(calls, Machine, new SeccompListener(listener), mirror, first, end);
        Serving?.Invoke(supervisor);

        // Before the first call is served: from then on the program may kill this process.
        var keeper = ForeignKeeper.Start(KeeperCommand, listener, supervisor.InFlight, first);
        supervisor.Start();
        var last = Receive(pair[0], out _);
        if (last.Length > 0)
        {
            throw new ForeignException(last["error ".Length..]);
        }

        stub.WaitForExit();
        supervisor.Drain();
        left = [.. supervisor.LeftOpen];
        _ = Libc.Close(pair[0]);
        _ = keeper < 0 ? 0 : Libc.Close(keeper);
        return stub.ExitCode;
    }

    // Without these calls no path could be read, and every open would be the host's without a word. Null where they work.
    private static string? MemoryComplaint()
    {
        byte from = 1, to = 0;
        var source = new Libc.IoVector { Base = &from, Length = 1 };
        var target = new Libc.IoVector { Base = &to, Length = 1 };

        // SAFETY: both vectors are one byte on this stack.
        foreach (var call in (nint[])[Libc.SYS_process_vm_readv, Libc.SYS_process_vm_writev])
        {
            var (local, remote) = call == Libc.SYS_process_vm_readv ? ((nint)(&target), (nint)(&source)) : ((nint)(&source), (nint)(&target));
            if (Libc.Syscall(call, Environment.ProcessId, local, 1, remote, 1, 0) != 1)
            {
                return "the kernel does not let this process copy a program's memory (process_vm_readv, process_vm_writev:"
                    + $" {Errno.Name(Marshal.GetLastPInvokeError())});"
                    + " it takes CONFIG_CROSS_MEMORY_ATTACH and a container that permits these calls";
            }
        }

        return null;
    }

    private Process Start(int socket, int first, int end, string path, IReadOnlyList<string> arguments)
    {
        List<string> command = [];
        if (Libc.EffectiveUserId() != 0)
        {
            // A process with many threads cannot enter a user namespace; unshare(1) can for it.
            command.AddRange(["unshare", "--user", "--map-current-user", "--keep-caps", "--"]);
        }

        command.AddRange(StubCommand);
        // What unshare or the runtime complains of before the program begins is evidence for one sentence, not a line of its own.
        var error = Libc.Fcntl(2, Libc.F_DUPFD, 3);
        command.AddRange([.. ((int[])[socket, error, first, end]).Select(static number => number.ToString(CultureInfo.InvariantCulture)), path,
            .. arguments]);
        var info = new ProcessStartInfo(command[0]) { UseShellExecute = false, RedirectStandardError = true };
        foreach (var argument in command.Skip(1))
        {
            info.ArgumentList.Add(argument);
        }

        try
        {
            return Process.Start(info)!;
        }
        catch (System.ComponentModel.Win32Exception exception)
        {
            throw new ForeignException($"'{command[0]}' cannot be started ({Errno.Name(exception.NativeErrorCode)}); install util-linux 2.38 or"
                + " later, or run as root", exception);
        }
        finally
        {
            _ = Libc.Close(error);
        }
    }

    private int Expect(int socket, string message, Process stub, bool descriptor = true)
    {
        var text = Receive(socket, out var received);
        if (text == message && (received >= 0 || !descriptor))
        {
            return received;
        }

        if (text.StartsWith("error ", StringComparison.Ordinal))
        {
            throw new ForeignException(text["error ".Length..]);
        }

        var evidence = stub.StandardError.ReadLine()?.TrimEnd('.') ?? "no message";
        throw new ForeignException(Libc.EffectiveUserId() == 0 ? $"the program's process ended before it could be started ({evidence})"
            : $"no user namespace can be made ({evidence}); run as root, or permit them (sysctl kernel.unprivileged_userns_clone=1,"
                + " user.max_user_namespaces)"
                + " and install util-linux 2.38 or later");
    }

    private string Receive(int socket, out int descriptor)
    {
        const int Room = 4096;
        var buffer = stackalloc byte[Room];
        int received = -1, count = 1;
        nint length;
        do
        {
            length = _kernel.ReceiveDescriptors(socket, (nint)buffer, Room, (nint)(&received), ref count);
        }
        while (length == -Errno.EINTR);
        descriptor = count == 1 ? received : -1;
        return length <= 0 ? "" : Encoding.UTF8.GetString(buffer, (int)length);
    }

    private void Send(int socket, string text)
    {
        var bytes = Encoding.UTF8.GetBytes(text.Length == 0 ? "\n" : text);
        fixed (byte* payload = bytes)
        {
            _ = _kernel.SendDescriptors(socket, (nint)payload, (nuint)bytes.Length, 0, 0);
        }
    }
}
