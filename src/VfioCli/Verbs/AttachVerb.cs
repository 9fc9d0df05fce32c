using System.Runtime.InteropServices;
using CommandLine;
using CommandLine.Text;
using IommuFd;
using IommuFd.Sysfs;
using VfioCli.CommandLine;
using VfioCli.Diagnosis;
using VfioCli.Faults;
using VfioCli.Hosts;
using VfioCli.SelfTests;

namespace VfioCli.Verbs;

/// <summary><c>vfio attach</c>: the whole way of the proposal, printed.</summary>
[Verb("attach", HelpText = "Open functions, bind them to an IOMMU context, attach them to one I/O address space, map memory, and test it.")]
internal sealed class AttachVerb : FunctionsVerb
{
    /// <summary>The first cookie.</summary>
    [Option("cookie", Default = "1", MetaValue = "N",
        HelpText = "The cookie that names the first function in fault reports; the next ones get N+1, N+2, ...")]
    public string Cookie { get; set; } = "1";

    /// <summary>The VF token.</summary>
    [Option("token", MetaValue = "UUID", HelpText = "The VF token, for VFs whose physical function is in user hands too.")]
    public string? Token { get; set; }

    /// <summary>What to map.</summary>
    [Option("map", MetaValue = "SIZE[@IOVA]",
        HelpText = "Map memory of this size, at this IOVA or where the kernel chooses; several separated by commas: 2M@0x100000,4K.")]
    public string? Map { get; set; }

    /// <summary>Tests it.</summary>
    [Option("selftest",
        HelpText = "Move bytes out and back through the function's own DMA engine, wait for its interrupt, and show that DMA to an unmapped IOVA"
            + " does not arrive. Known: " + SelfTest.Known + ".")]
    public bool Selftest { get; set; }

    /// <summary>Stays.</summary>
    [Option("hold", HelpText = "Stay attached until SIGINT or SIGTERM.")]
    public bool Hold { get; set; }

    /// <summary>Takes functions from their drivers.</summary>
    [Option("bind",
        HelpText = "Also take functions from the host's drivers for the time of this command. Without it only functions that have no driver"
            + " are taken so.")]
    public bool Bind { get; set; }

    /// <summary>Examples for the help.</summary>
    [Usage(ApplicationAlias = "vfio")]
    public static IEnumerable<Example> Examples =>
    [
        Example("Does passthrough work on this machine (or, without an IOMMU, on the simulated one)?",
            new AttachVerb { Functions = ["0000:00:04.0"], Selftest = true }),
        Example("Two functions in one address space, held until Ctrl-C",
            new AttachVerb { Functions = ["0000:02:01.0", "0000:02:02.0"], Map = "2M@0x100000,64K", Hold = true }),
    ];

    /// <inheritdoc/>
    public override ExitCode Run(Session session)
    {
        ulong cookie = NumberText.Parse(Cookie, "the cookie");
        Guid token = default;
        if (Token is not null && !Guid.TryParse(Token, out token))
        {
            throw new CommandFailure(ExitCode.Usage, $"the token '{Token}' is not a UUID.",
                "Write it as 00112233-4455-6677-8899-aabbccddeeff; `vfio vf token` makes one.");
        }

        IReadOnlyList<MapText> maps = MapText.Parse(Map);
        IReadOnlyList<PciFunction> functions = session.FunctionsAt(Functions);
        if (Selftest && functions.FirstOrDefault(static function => SelfTest.Find(function) is null) is { } unknown)
        {
            throw new CommandFailure(ExitCode.Unsupported, $"{unknown.Address} ({unknown.Vendor:x4}:{unknown.Device:x4}) has no self-test.",
                $"There is one for {SelfTest.Known}; without --selftest it can be attached.");
        }

        using CancellationTokenSource signalled = new();
        using PosixSignalRegistration interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Signal);
        using PosixSignalRegistration terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Signal);
        using BorrowedDrivers borrowed = BorrowedDrivers.Take(session, functions, Bind);
        if (Selftest
            && functions.FirstOrDefault(function => session.Function(function.Address.ToString()).VfioDevice?.StartsWith("noiommu",
                StringComparison.Ordinal) == true) is { } unprotected)
        {
            throw new CommandFailure(ExitCode.Unsupported,
                $"{unprotected.Address} has no IOMMU: its DMA goes to physical addresses, and a self-test would overwrite memory.",
                "Self-tests need an IOMMU; `vfio doctor` tells what is missing.");
        }

        using Attached attached = Make(session, functions, cookie, Token is null ? null : token, maps);
        AttachReport report = new(session, attached, borrowed);
        if (Selftest)
        {
            int before = KernelLog.Read(session.Host.Kernel, out _);
            foreach (BoundDevice device in attached.Devices)
            {
                (string name, Func<BoundDevice, IoAddressSpace, IReadOnlyList<SelfTestStep>> run) =
                    SelfTest.Find(session.Function(device.Address!.Value.ToString()))!.Value;
                report.SelfTests.Add((device, name, run(device, attached.Space)));
            }

            report.Faults = NewFaults(session, before, functions);
        }

        report.Print();
        session.Terminal.Flush();
        if (Hold)
        {
            session.Terminal.Remark("attached; SIGINT (Ctrl-C) or SIGTERM ends it.");
            Wait(session, attached, signalled.Token);
        }

        return report.Passed ? ExitCode.Ok : ExitCode.No;

        // A signal ends it, and so does the host when it wants a device back: someone's unbind waits for us then.
        static void Wait(Session session, Attached attached, CancellationToken signalled)
        {
            using CancellationTokenSource ended = CancellationTokenSource.CreateLinkedTokenSource(signalled);
            List<InterruptSet> requests = [];
            List<Task> waits = [Task.Delay(Timeout.Infinite, ended.Token)];
            foreach (BoundDevice device in attached.Devices.Where(static device => device.Calls.GetIrqInfo(InterruptKind.Request).Count > 0))
            {
                requests.Add(device.EnableInterrupts(InterruptKind.Request));
                waits.Add(requests[^1][0].WaitAsync(ended.Token).AsTask());
            }

            int first = Task.WaitAny([.. waits], CancellationToken.None);
            if (first > 0)
            {
                session.Terminal.Remark($"the host asks for {requests[first - 1].Device.Address} back; letting go.");
            }

            ended.Cancel();
            try
            {
                Task.WaitAll([.. waits], CancellationToken.None);
            }
            catch (AggregateException)
            {
                // The cancelled waits.
            }

            requests.ForEach(static set => set.Dispose());
        }

        // The fault of the last check, as the kernel saw it; without leave to read its log there is none to show.
        static IReadOnlyList<(FaultRecord Fault, int Count)> NewFaults(Session session, int before, IReadOnlyList<PciFunction> functions) =>
            before < 0 || KernelLog.Read(session.Host.Kernel, out IReadOnlyList<string> lines) < before ? []
            : [.. FaultLog.Parse(lines.Skip(before)).Where(entry =>
                functions.Any(function => entry.Fault.Device?.StartsWith(function.Address.ToString(), StringComparison.Ordinal) == true))];

        // What the kernel puts into one number, explain finds in sysfs.
        static Attached Make(Session session, IReadOnlyList<PciFunction> functions, ulong cookie, Guid? token, IReadOnlyList<MapText> maps)
        {
            try
            {
                return Attached.Make(session, functions, cookie, token, maps);
            }
            catch (IommuFdException exception)
            {
                foreach (PciFunction function in functions)
                {
                    Explanation explanation = Explanation.Of(session, session.Function(function.Address.ToString()));
                    if (explanation.Checks.FirstOrDefault(static check => check.Result == CheckResult.Fail) is { } why)
                    {
                        throw new CommandFailure(
                            FailureText.Describe(exception).Code,
                            $"{function.Address} cannot be attached: {why.Name}: {why.Finding} ({exception.Operation}: {exception.ErrnoName}).",
                            why.Remedy)
                        {
                            Errno = exception.Errno,
                            Evidence = [.. why.Evidence],
                        };
                    }
                }

                throw;
            }
        }

        void Signal(PosixSignalContext context)
        {
            // Not the default end of the process: drivers that were borrowed must be given back first.
            context.Cancel = true;
            signalled.Cancel();
        }
    }
}
