using System.Collections;
using System.Runtime.InteropServices;
using System.Text;
using IommuFd.Native;
using Libc = IommuFd.Native.Libc;

namespace IommuFd.HwSim.Foreign;

/// <summary>
/// The child's side before it becomes the program: a mount namespace with the machine's view, the filter, then execve. It runs in a process of its
/// own that
/// <see cref="ForeignRun"/> started, and talks to it over one socket.
/// </summary>
/// <remarks>
/// A filter and a mount namespace belong to a thread, and execve keeps those of the thread that calls it while it ends all others; so a runtime with
/// many threads can do this.
/// </remarks>
public static unsafe class ForeignStub
{
    private const uint SECCOMP_SET_MODE_FILTER = 1, FLAG_NEW_LISTENER = 8, FLAG_WAIT_KILLABLE_RECV = 32;

    /// <summary>The descriptor of the socket to the one who started this process.</summary>
    private readonly record struct Channel(LinuxKernel Kernel, int Socket)
    {
        public bool Send(string text, int descriptor)
        {
            var bytes = Encoding.UTF8.GetBytes(text);
            fixed (byte* payload = bytes)
            {
                return Kernel.SendDescriptors(Socket, (nint)payload, (nuint)bytes.Length, (nint)(&descriptor), descriptor < 0 ? 0 : 1) >= 0;
            }
        }
    }

    /// <summary>Becomes the program.</summary>
    /// <param name="socket">An inherited socket.</param>
    /// <param name="error">An inherited descriptor, which becomes stderr: until now that went to the one who started this process.</param>
    /// <param name="firstDescriptor">The reserved range of descriptors.</param>
    /// <param name="endDescriptor">Its end; becomes the soft RLIMIT_NOFILE.</param>
    /// <param name="path">The program.</param>
    /// <param name="arguments">Its arguments, the name it is called by first.</param>
    /// <returns>Only when it failed; the other side has been told why.</returns>
    public static int Run(int socket, int error, int firstDescriptor, int endDescriptor, string path, IReadOnlyList<string> arguments)
    {
        var kernel = new LinuxKernel();
        _ = kernel.Fcntl(socket, Libc.F_SETFD, 1);
        _ = Libc.Dup2(error, 2);
        _ = Libc.Close(error);
        Channel channel = new(kernel, socket);
        if (SystemCalls.Here is not { } calls)
        {
            return Fail(channel, $"programs can be run on x86-64 and arm64 only, not on {RuntimeInformation.ProcessArchitecture}");
        }

        if (BuildView(channel) is { } complaint)
        {
            return Fail(channel, complaint);
        }

        _ = kernel.GetResourceLimit(Libc.RLIMIT_NOFILE, out _, out var hard);
        _ = kernel.SetResourceLimit(Libc.RLIMIT_NOFILE, (ulong)endDescriptor, hard);

        // The runtime ignores SIGPIPE, and execve would keep that.
        ulong none = 0;
        _ = Libc.Signal(Libc.SIGPIPE, 0);
        _ = Libc.SignalMask(Libc.SIG_SETMASK, &none, null);

        var filter = SeccompFilter.Build(calls, firstDescriptor, endDescriptor);
        var argv = Strings(arguments);
        var environment = Strings([.. Environment.GetEnvironmentVariables().Cast<DictionaryEntry>().Select(static e => $"{e.Key}={e.Value}")]);

        // Once the filter is in place, this thread may do nothing that could open a file before the listener is served: everything it calls ran
        // before.
        _ = Libc.Execve("/", argv, environment);
        _ = channel.Send("ready", -1);
        var listener = Install(filter);
        if (listener < 0)
        {
            return Fail(channel, listener == -Errno.EBUSY
                ? "this process runs under a seccomp listener already, and the kernel permits one: vfio sim run cannot run inside vfio sim run;"
                    + " leave that first"
                : $"the kernel refuses a seccomp filter with user notification: {Errno.Name(-listener)};"
                    + " it takes Linux 5.9, CONFIG_SECCOMP_FILTER and a container that permits seccomp(2)");
        }

        _ = channel.Send("listener", listener);
        _ = Libc.Execve(path, argv, environment);
        return Fail(channel, $"'{path}' cannot be executed: {WhyNot(Marshal.GetLastPInvokeError())}");
    }

    private static string WhyNot(int errno) => errno switch
    {
        Errno.ENOEXEC =>
            "it is no program for this processor and no script that names its interpreter; give the interpreter, with the file as its argument",
        Errno.ENOENT => "the interpreter or loader that it names is not there; install that",
        Errno.EACCES => "this user may not execute it; look at the modes of the file and of the directories above it",
        _ => Errno.Name(errno),
    };

    private static int Install(SeccompFilter.Instruction[] filter)
    {
        fixed (SeccompFilter.Instruction* first = filter)
        {
            // struct sock_fprog
            var program = stackalloc ulong[2] { (ulong)filter.Length, (ulong)first };
            var listener = Seccomp(program, FLAG_NEW_LISTENER | FLAG_WAIT_KILLABLE_RECV);
            if (listener == -Errno.EACCES)
            {
                _ = Libc.Prctl(Libc.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
                listener = Seccomp(program, FLAG_NEW_LISTENER | FLAG_WAIT_KILLABLE_RECV);
            }

            // Before Linux 5.19 a signal interrupts a call that is being served.
            return listener == -Errno.EINVAL ? Seccomp(program, FLAG_NEW_LISTENER) : listener;
        }
    }

    private static int Seccomp(ulong* program, uint flags)
    {
        var result = (int)Libc.Syscall(Libc.SYS_seccomp, (nint)SECCOMP_SET_MODE_FILTER, (nint)flags, (nint)program, 0, 0, 0);
        return result >= 0 ? result : -Marshal.GetLastPInvokeError();
    }

    // Null, or why not.
    private static string? BuildView(Channel channel)
    {
        if (Libc.Unshare(Libc.CLONE_NEWNS) < 0 || Libc.Mount("none", "/", null, Libc.MS_SLAVE | Libc.MS_REC, null) < 0)
        {
            return $"this process may not have a mount namespace of its own ({Errno.Name(Marshal.GetLastPInvokeError())});"
                + " run it where CAP_SYS_ADMIN is real (docker run --privileged), or as an ordinary user who may have user namespaces";
        }

        var hostSys = Libc.Open("/sys", Libc.O_PATH | Libc.O_CLOEXEC, 0);
        var hostDev = Libc.Open("/dev", Libc.O_PATH | Libc.O_CLOEXEC, 0);
        if (Libc.Mount("machine", "/sys", "tmpfs", Libc.MS_NOSUID, "mode=755") < 0)
        {
            return $"a tmpfs cannot be mounted over /sys: {Errno.Name(Marshal.GetLastPInvokeError())}";
        }

        var view = Libc.Open("/sys", Libc.O_PATH | Libc.O_CLOEXEC, 0);
        if (!channel.Send("view", view))
        {
            return "the other side is gone";
        }

        var commands = new byte[1 << 17];
        nint length;
        fixed (byte* buffer = commands)
        {
            var none = 0;
            length = channel.Kernel.ReceiveDescriptors(channel.Socket, (nint)buffer, (nuint)commands.Length, 0, ref none);
        }

        if (length <= 0)
        {
            return "the other side is gone";
        }

        foreach (var line in Encoding.UTF8.GetString(commands, 0, (int)length).Split('\n', StringSplitOptions.RemoveEmptyEntries))
        {
            var space = line.IndexOf(' ', StringComparison.Ordinal);
            var path = line[(space + 1)..];
            var (from, to) = line[..space] switch
            {
                "host" when path.StartsWith("/sys", StringComparison.Ordinal) =>
                    ($"/proc/self/fd/{hostSys}{path[4..]}", $"/proc/self/fd/{view}{path}"),
                "host" => ($"/proc/self/fd/{hostDev}{path[4..]}", $"/proc/self/fd/{view}{path}"),
                _ => ($"/proc/self/fd/{view}{path}", path),
            };

            // An entry of the host that vanished meanwhile, or that may not be shown twice, is missing in the view: no reason to give up.
            _ = Libc.Mount(from, to, null, Libc.MS_BIND | Libc.MS_REC, null);
        }

        foreach (var top in (string[])["/dev", "/sys"])
        {
            if (Libc.Mount($"/proc/self/fd/{view}{top}", top, null, Libc.MS_BIND | Libc.MS_REC, null) < 0)
            {
                return $"the machine's {top} cannot be mounted: {Errno.Name(Marshal.GetLastPInvokeError())}";
            }
        }

        return null;
    }

    private static int Fail(Channel channel, string complaint)
    {
        _ = channel.Send("error " + complaint, -1);
        return 127;
    }

    // Never freed: execve takes all of this process's memory.
    private static byte** Strings(IReadOnlyList<string> texts)
    {
        var array = (byte**)NativeMemory.Alloc((nuint)(texts.Count + 1), (nuint)sizeof(byte*));
        for (var i = 0; i < texts.Count; i++)
        {
            array[i] = (byte*)Marshal.StringToCoTaskMemUTF8(texts[i]);
        }

        array[texts.Count] = null;
        return array;
    }
}
