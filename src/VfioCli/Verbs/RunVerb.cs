using System.ComponentModel;
using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using CommandLine;
using CommandLine.Text;
using IommuFd;
using IommuFd.Native;
using IommuFd.Sysfs;
using VfioCli.CommandLine;

namespace VfioCli.Verbs;

/// <summary><c>vfio run</c>: privilege stays here, the program gets descriptors.</summary>
[Verb("run", HelpText = "Open and bind functions and hand their descriptors to a program that needs no privilege: run BDF... -- PROGRAM ARGS.")]
internal sealed class RunVerb : HostVerb
{
    private const int SetDescriptorFlags = 2; // F_SETFD

    /// <summary>Functions, and behind two dashes the program.</summary>
    [Value(0, MetaName = "BDF... -- PROGRAM ARGS", Required = true,
        HelpText = "PCI functions, then behind two dashes the program. It finds VFIO_IOMMUFD=FD (the open /dev/iommu),"
            + " VFIO_DEVICES=BDF=FD:DEVID:COOKIE,... (bound devices, to be attached by the program), and inherits these descriptors.")]
    public IEnumerable<string> Words { get; set; } = [];

    /// <summary>The first cookie.</summary>
    [Option("cookie", Default = "1", MetaValue = "N", HelpText = "The cookie of the first function; the next ones get N+1, N+2, ...")]
    public string Cookie { get; set; } = "1";

    /// <summary>Who the program runs as.</summary>
    [Option("user", MetaValue = "USER", HelpText = "Run the program as this user.")]
    public string? User { get; set; }

    /// <summary>Takes functions from their drivers.</summary>
    [Option("bind", HelpText = "Also take functions from the host's drivers while the program runs.")]
    public bool Bind { get; set; }

    /// <summary>Examples for the help.</summary>
    [Usage(ApplicationAlias = "vfio")]
    public static IEnumerable<Example> Examples =>
        [Example("A driver that does not need to be root", new RunVerb { Words = ["0000:00:04.0", "--", "./driver"], User = "alice" })];

    /// <summary>
    /// The functions before the dashes and the program behind them; CommandLineParser drops the dashes, so Program keeps them apart.
    /// </summary>
    public string[] Program { get; set; } = [];

    /// <inheritdoc/>
    public override ExitCode Run(Session session)
    {
        if (Program.Length == 0)
        {
            throw new CommandFailure(ExitCode.Usage, "run needs a program.", "Write it behind two dashes: vfio run 0000:00:04.0 -- PROGRAM ARGS.");
        }

        if (session.Host.Kind != HostKind.Kernel)
        {
            throw new CommandFailure(ExitCode.Unsupported, $"the descriptors of {session.Host.Description} mean nothing to another process.",
                "`vfio sim run -- PROGRAM` runs a program on the simulated machine.");
        }

        ulong cookie = NumberText.Parse(Cookie, "the cookie");
        if (User is not null && Diagnosis.Accounts.Find(session.Host, User) is null)
        {
            throw new CommandFailure(ExitCode.NotFound, $"there is no user {User} on {session.Host.Description}.", "Give a name from /etc/passwd.");
        }

        IReadOnlyList<PciFunction> functions = session.FunctionsAt(Words);
        using PosixSignalRegistration interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Ignore);
        using PosixSignalRegistration terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Ignore);
        using BorrowedDrivers borrowed = BorrowedDrivers.Take(session, functions, Bind);
        int iommufd = Inheritable(session, Opened(session, "/dev/iommu"));
        using IommuContext context = IommuContext.Adopt(session.Iommu, iommufd);
        List<string> devices = [];
        Stack<IDisposable> held = new();
        try
        {
            foreach (PciFunction function in functions)
            {
                string node = session.Function(function.Address.ToString()).DeviceNode
                    ?? throw new CommandFailure(ExitCode.Unsupported, $"{function.Address} has no character device.",
                        $"`vfio explain {function.Address}` tells why.");
                int descriptor = Inheritable(session, Opened(session, node));
                VfioDeviceFile file = VfioDeviceFile.Adopt(session.Iommu, descriptor, function.Address);
                held.Push(file);
                BoundDevice device = file.Bind(context, cookie);
                held.Push(device);
                devices.Add(string.Create(CultureInfo.InvariantCulture, $"{function.Address}={descriptor}:{device.DeviceId}:{cookie}"));
                cookie++;
            }

            return (ExitCode)RunProgram(iommufd, string.Join(',', devices));
        }
        finally
        {
            while (held.TryPop(out IDisposable? resource))
            {
                resource.Dispose();
            }
        }

        // The terminal sends SIGINT to the program too: it decides, and we end with it.
        static void Ignore(PosixSignalContext signal) => signal.Cancel = true;
    }

    private static int Opened(Session session, string path)
    {
        int fd = session.Host.Kernel.Open(path, Libc.O_RDWR | Libc.O_CLOEXEC, 0);
        return fd >= 0 ? fd : throw new CommandFailure(
            fd is -Errno.EACCES or -Errno.EPERM ? ExitCode.Permission : fd == -Errno.EBUSY ? ExitCode.Busy : ExitCode.NotFound,
            $"{path} cannot be opened ({Errno.Name(-fd)}).",
            fd is -Errno.EACCES or -Errno.EPERM
                ? "Run as root or as a user who may open it; `vfio doctor` tells what is missing."
                : "`vfio doctor` and `vfio explain` tell why.")
        {
            Errno = -fd,
        };
    }

    private static int Inheritable(Session session, int descriptor)
    {
        _ = session.Host.Kernel.Fcntl(descriptor, SetDescriptorFlags, 0); // without FD_CLOEXEC
        return descriptor;
    }

    private int RunProgram(int iommufd, string devices)
    {
        ProcessStartInfo start = new(Program[0], Program[1..]) { UseShellExecute = false };
        if (User is not null)
        {
            start.UserName = User;
        }

        start.Environment["VFIO_IOMMUFD"] = iommufd.ToString(CultureInfo.InvariantCulture);
        start.Environment["VFIO_DEVICES"] = devices;
        try
        {
            using Process process = Process.Start(start)!;
            process.WaitForExit();
            return process.ExitCode;
        }
        catch (Win32Exception exception)
        {
            throw new CommandFailure(ExitCode.NotFound, $"{Program[0]} cannot be run: {exception.Message.TrimEnd('.')}.",
                "Give its path; it must be executable by the user it runs as.") { Errno = exception.NativeErrorCode };
        }
    }
}
