using CommandLine;
using CommandLine.Text;
using IommuFd.HwSim;
using IommuFd.HwSim.Foreign;
using VfioCli.Output;

namespace VfioCli.Verbs;

/// <summary>A verb that needs no host: it makes its own machine, or only reads files.</summary>
internal abstract class StandaloneVerb : Verb
{
    /// <inheritdoc/>
    public override ExitCode Run(Session session) => Run(session.Terminal);

    /// <summary>Does it.</summary>
    public abstract ExitCode Run(Terminal terminal);
}

/// <summary><c>vfio sim</c>: programs on a simulated machine, and the machines themselves.</summary>
[Verb("sim", HelpText = "Run any program, unmodified, on a simulated machine: sim run -- PROGRAM ARGS, sim shell, sim topologies, sim check FILE.")]
internal sealed class SimVerb : StandaloneVerb
{
    /// <summary>The hidden verb with which the command starts itself as the child that becomes the program.</summary>
    public const string StubVerb = "sim-stub";

    /// <summary>The hidden verb with which the command starts itself as the one who answers programs that outlive it.</summary>
    public const string KeeperVerb = "sim-keeper";

    private const int MostLeftBehind = 10;

    /// <summary>Examples for the help.</summary>
    [Usage(ApplicationAlias = "vfio")]
    public static IEnumerable<Example> Examples =>
    [
        Example("Show the simulated machine's devices with an ordinary tool", new SimVerb { Words = ["run", "--", "ls", "/sys/bus/pci/devices"] }),
        Example("Work in a shell on it", new SimVerb { Words = ["shell"], Topology = "intel" }),
        Example("Check a topology of one's own", new SimVerb { Words = ["check", "mine.json"] }),
    ];

    /// <summary>What to do, and with what.</summary>
    [Value(0, MetaName = "run|shell|topologies|check", Required = true, HelpText = "run -- PROGRAM ARGS; shell; topologies; check FILE.")]
    public IEnumerable<string> Words { get; set; } = [];

    /// <summary>The machine.</summary>
    [Option("topology", MetaValue = "FILE|NAME", HelpText = "The simulated machine; `vfio sim topologies` lists the built-in ones.")]
    public string? Topology { get; set; }

    /// <summary>Chooses what the topology leaves open.</summary>
    [Option("seed", MetaValue = "N",
        HelpText = "0 keeps physical memory contiguous, any other number scatters it; the same number gives the same addresses.")]
    public ulong Seed { get; set; }

    /// <summary>Where the program's calls are written to.</summary>
    [Option("trace", MetaValue = "FILE|-",
        HelpText = "Write every call on the machine's files to FILE (JSON lines for `vfio trace` when it ends in .jsonl), or to stderr for -.")]
    public string? Trace { get; set; }

    /// <inheritdoc/>
    public override ExitCode Run(Terminal terminal)
    {
        string[] words = [.. Words];
        return words switch
        {
            ["run"] => throw new CommandFailure(ExitCode.Usage, "sim run needs a program.",
                "Write it behind two dashes: vfio sim run -- PROGRAM ARGS."),
            ["run", .. var program] => RunProgram(terminal, program),
            ["shell"] => RunProgram(terminal, [Environment.GetEnvironmentVariable("SHELL") is { Length: > 0 } shell ? shell : "/bin/sh"]),
            ["topologies"] => Topologies(terminal),
            ["check", var file] => Check(terminal, file),
            _ => throw new CommandFailure(ExitCode.Usage, $"`vfio sim {string.Join(' ', words)}` is not complete or not known.",
                "It is sim run -- PROGRAM ARGS, sim shell, sim topologies, or sim check FILE."),
        };
    }

    private ExitCode RunProgram(Terminal terminal, string[] command)
    {
        string path = ForeignProgram.Find(command[0])
            ?? throw new CommandFailure(ExitCode.NotFound, $"there is no program '{command[0]}'.", "Give its path, or a name that PATH leads to.");
        if (!ForeignProgram.IsExecutable(path))
        {
            throw new CommandFailure(ExitCode.Permission, $"'{path}' is not executable.",
                "Give a program, or an interpreter with the file as its argument.");
        }

        if (!Environment.IsPrivilegedProcess && (File.GetUnixFileMode(path) & (UnixFileMode.SetUser | UnixFileMode.SetGroup)) != 0)
        {
            throw new CommandFailure(
                ExitCode.Permission,
                $"'{path}' is setuid or setgid, and would not get its privileges under a filter that a user installed.",
                "Run vfio sim run as root.");
        }

        using SimulatedHost machine = new(LoadTopology(), Seed);
        using FileStream? record = Trace?.EndsWith(".jsonl", StringComparison.Ordinal) == true ? Create(Trace) : null;
        using StreamWriter? text = Trace is not (null or "-") && record is null ? new StreamWriter(Create(Trace)) : null;
        ForeignProgram program = new()
        {
            TraceRecord = record, TraceText = text ?? (Trace == "-" ? terminal.Error : null),
            StubCommand = Self(StubVerb), KeeperCommand = Self(KeeperVerb), Machine = machine, Path = path, Arguments = command,
            Faulted = exception =>
                terminal.Remark("a fault of the simulator:"
                    + $" {(Environment.GetEnvironmentVariable("VFIO_DEBUG") is { Length: > 0 } ? exception : exception.Message)}"),
        };
        terminal.Flush();
        using var interrupt = new SignalsToTheProgram();
        try
        {
            int status = program.Run();
            foreach (IGrouping<string, string> left in program.LeftBehind.GroupBy(static line => line)
                .OrderByDescending(static same => same.Count()).Take(MostLeftBehind))
            {
                terminal.Remark($"left open at exit: {left.Key}{(left.Count() == 1 ? "" : $" ({left.Count()} times)")}");
            }

            return (ExitCode)status;
        }
        catch (ForeignException exception)
        {
            throw new CommandFailure(ExitCode.Unsupported, exception.Message + ".");
        }
    }

    private static FileStream Create(string file)
    {
        try
        {
            return new FileStream(file, FileMode.Create, FileAccess.Write);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new CommandFailure(ExitCode.Usage, $"the trace cannot be written to {file}: {exception.Message.TrimEnd('.')}.",
                "Name a file in a directory that this user may write to, or - for stderr.");
        }
    }

    private Topology LoadTopology()
    {
        try
        {
            return IommuFd.HwSim.Topology.Load(Topology ?? IommuFd.HwSim.Topology.Names[0]);
        }
        catch (TopologyException exception)
        {
            throw new CommandFailure(ExitCode.NotFound, exception.Message + ".");
        }
    }

    private static ExitCode Topologies(Terminal terminal)
    {
        foreach (string name in IommuFd.HwSim.Topology.Names)
        {
            terminal.Line($"{name,-20} {IommuFd.HwSim.Topology.ByName(name).Description}");
        }

        return ExitCode.Ok;
    }

    private static ExitCode Check(Terminal terminal, string file)
    {
        if (!File.Exists(file))
        {
            throw new CommandFailure(ExitCode.NotFound, $"there is no file '{file}'.");
        }

        try
        {
            Topology topology = IommuFd.HwSim.Topology.Load(file);
            using SimulatedHost machine = new(topology);
            terminal.Line($"{file}: '{topology.Name}' boots: {topology.Functions.Count} PCI functions,"
                + $" {(topology.Iommu is { } iommu ? iommu.Kind + " IOMMU" : "no IOMMU")}.");
            return ExitCode.Ok;
        }
        catch (TopologyException exception)
        {
            terminal.Remark(exception.Message + ".");
            return ExitCode.No;
        }
    }

    // The command itself, or the runtime with the command's assembly.
    private static string[] Self(string verb)
    {
        string self = Environment.ProcessPath ?? "/proc/self/exe";
        return Path.GetFileNameWithoutExtension(self) == "dotnet" ? [self, Environment.GetCommandLineArgs()[0], verb] : [self, verb];
    }

    // A terminal's Ctrl-C goes to the program as well: it decides, and this command reports what it decided.
    private sealed class SignalsToTheProgram : IDisposable
    {
        private readonly System.Runtime.InteropServices.PosixSignalRegistration[] _registrations =
        [
            System.Runtime.InteropServices.PosixSignalRegistration.Create(System.Runtime.InteropServices.PosixSignal.SIGINT,
                static context => context.Cancel = true),
            System.Runtime.InteropServices.PosixSignalRegistration.Create(System.Runtime.InteropServices.PosixSignal.SIGQUIT,
                static context => context.Cancel = true),
        ];

        public void Dispose() => Array.ForEach(_registrations, static registration => registration.Dispose());
    }
}
