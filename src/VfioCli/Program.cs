using IommuFd;
using IommuFd.HwSim.Foreign;
using IommuFd.Native;
using IommuFd.Sysfs;
using VfioCli.CommandLine;
using VfioCli.Diagnosis;
using VfioCli.Hosts;
using VfioCli.Output;
using VfioCli.Verbs;

namespace VfioCli;

/// <summary>
/// The <c>vfio</c> command: reads the command line, opens the host, runs the verb, and turns what went wrong into one sentence and an exit code.
/// </summary>
internal static class Program
{
    private static int Main(string[] args)
    {
        if (args is [SysfsWriter.ChildVerb, string path, string text])
        {
            return SysfsWriter.RunChild(path, text);
        }

        if (args is [SimVerb.StubVerb, .. var stub])
        {
            return ForeignProgram.RunStub(stub);
        }

        if (args is [SimVerb.KeeperVerb, .. var keeper])
        {
            return ForeignKeeper.Run(keeper);
        }

        if (args is [Completion.Verb, .. var words])
        {
            foreach (string candidate in Completion.Candidates(words, new LinuxSysfs()))
            {
                Console.WriteLine(candidate);
            }

            return 0;
        }

        bool interactive = !Console.IsOutputRedirected;
        bool colour = interactive && string.IsNullOrEmpty(Environment.GetEnvironmentVariable("NO_COLOR"));
        using StreamWriter output = new(Console.OpenStandardOutput(), bufferSize: 16384);
        using StreamWriter error = new(Console.OpenStandardError()) { AutoFlush = true };
        return Run(args, new Terminal(output, error, interactive, colour) { Piped = Console.IsInputRedirected ? static () => Console.In : null,
            OpenBinary = Console.OpenStandardOutput }, static (choice, wantsThisMachine) => HostOpening.Open(choice, wantsThisMachine));
    }

    /// <summary>Runs one command line.</summary>
    /// <param name="args">The arguments.</param>
    /// <param name="terminal">Where it writes.</param>
    /// <param name="open">Opens the host that the verb asks for.</param>
    /// <returns>The exit status.</returns>
    public static int Run(string[] args, Terminal terminal, Func<HostChoice, bool, OpenedHost> open)
    {
        try
        {
            return (int)RunCommand(args, terminal, open);
        }
        catch (CommandFailure failure)
        {
            return (int)Report(terminal, failure);
        }
        catch (IommuFdException exception)
        {
            return (int)Report(terminal, FailureText.Describe(exception));
        }
        catch (IOException exception) when (exception.HResult is Errno.EPIPE)
        {
            return (int)ExitCode.Ok; // whoever read our output has seen enough
        }
#pragma warning disable CA1031 // the last line of defence: a person gets a sentence, never a stack trace
        catch (Exception exception)
#pragma warning restore CA1031
        {
            if (Environment.GetEnvironmentVariable("VFIO_DEBUG") is { Length: > 0 })
            {
                terminal.Error.WriteLine(exception);
            }

            return (int)Report(terminal, new CommandFailure(
                ExitCode.Internal,
                $"this is a fault of vfio itself: {exception.GetType().Name}: {exception.Message}",
                "Please report it with the command line; VFIO_DEBUG=1 adds the details."));
        }
        finally
        {
            terminal.Flush();
        }
    }

    private static ExitCode RunCommand(string[] args, Terminal terminal, Func<HostChoice, bool, OpenedHost> open)
    {
        args = VerbFirst(args);
        terminal.Json = args.Contains("--json");
        ExitCode code = ExitCode.Ok;
        (args, string[] program) = SplitProgram(args);
        Verb? verb = FastPath.TryParse(args) ?? VerbParser.Parse(args, terminal, out code);
        if (verb is null)
        {
            return code;
        }

        terminal.Json = verb.Json;
        if (verb is RunVerb run)
        {
            run.Program = program;
        }

        if (verb is StandaloneVerb standalone)
        {
            return standalone.Run(terminal);
        }

        HostVerb hostVerb = (HostVerb)verb;
        OpenedHost opened = open(new HostChoice(hostVerb.Host, hostVerb.Topology), hostVerb.WantsThisMachine);
        (IommuHost host, IDisposable? trace) = TraceFile.Over(opened.Iommu, hostVerb.Trace, terminal.Error);
        using IDisposable? traceFile = trace;
        using Session session = new(opened with { Iommu = host }, terminal);
        if (opened.Fallback)
        {
            terminal.Remark($"{opened.Iommu.Reason}: using the simulator ({opened.Iommu.Description}). --host kernel insists on this machine, `vfio"
                + " doctor` tells what it lacks.");
        }

        Recover(session);
        return verb.Run(session);
    }

    // `vfio --host machine.tar list` is what hands type: options of every verb may stand before it.
    private static string[] VerbFirst(string[] args)
    {
        int verb = 0;
        while (verb < args.Length && args[verb] is "--json" or "--host" or "--topology" or "--trace")
        {
            verb += args[verb] == "--json" ? 1 : 2;
        }

        return verb == 0 || verb >= args.Length ? args : [args[verb], .. args[..verb], .. args[(verb + 1)..]];
    }

    // `vfio run BDF -- PROGRAM ARGS`: CommandLineParser would drop the dashes and lose where the program begins.
    private static (string[] Args, string[] Program) SplitProgram(string[] args)
    {
        int dashes = args is ["run", ..] ? Array.IndexOf(args, "--") : -1;
        return dashes < 0 ? (args, []) : (args[..dashes], args[(dashes + 1)..]);
    }

    // A vfio command that was killed between two writes left its journal: whatever runs next puts the functions back.
    private static void Recover(Session session)
    {
        if (session.Store.Unfinished().Count == 0)
        {
            return;
        }

        new DriverBinder(session.Sysfs, session.Store, new SysfsWriter(session.Host, TimeSpan.FromSeconds(10)).Write)
            .Recover(out IReadOnlyList<PciAddress> restored, out IReadOnlyList<PciAddress> notRestored);
        if (restored.Count > 0)
        {
            session.Terminal.Remark($"an earlier vfio command was killed while it changed drivers; put back: {string.Join(", ", restored)}.");
        }

        if (notRestored.Count > 0)
        {
            session.Terminal.Remark($"an earlier vfio command was killed while it changed drivers; not put back: {string.Join(", ", notRestored)}."
                + " Run `vfio restore` as root.");
        }
    }

    private static ExitCode Report(Terminal terminal, CommandFailure failure)
    {
        terminal.Remark(failure.Message);
        if (terminal.Json)
        {
            JsonReport.Write(terminal, "vfio.error/1", writer =>
            {
                writer.WriteNumber("exitStatus", (int)failure.Code);
                writer.WriteString("cause", failure.Cause);
                writer.WriteString("remedy", failure.Remedy);
                writer.WriteString("errno", failure.Errno == 0 ? null : Errno.Name(failure.Errno));
                writer.WriteStrings("evidence", failure.Evidence);
            });
        }

        return failure.Code;
    }
}
