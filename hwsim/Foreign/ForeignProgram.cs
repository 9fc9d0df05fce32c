namespace IommuFd.HwSim.Foreign;

/// <summary>An ordinary program, unmodified, with a simulated machine in place of the host's /dev/iommu, /dev/vfio and device files.</summary>
public sealed class ForeignProgram
{
    /// <summary>
    /// How this process starts itself as a stub: the file and the first arguments, to which the stub's own are appended. Those are given to
    /// <see cref="RunStub"/>.
    /// </summary>
    public required IReadOnlyList<string> StubCommand { get; init; }

    /// <summary>How this process starts itself as a keeper, in the same way; its arguments are given to <see cref="ForeignKeeper.Run"/>.</summary>
    public required IReadOnlyList<string> KeeperCommand { get; init; }

    /// <summary>The machine; it outlives the run.</summary>
    public required SimulatedHost Machine { get; init; }

    /// <summary>The program's file.</summary>
    public required string Path { get; init; }

    /// <summary>Its arguments, the name it is called by first.</summary>
    public required IReadOnlyList<string> Arguments { get; init; }

    /// <summary>What processes left open when they ended, a line each. Filled by <see cref="Run"/>.</summary>
    public IReadOnlyList<string> LeftBehind { get; private set; } = [];

    /// <summary>Told when serving a call failed through a fault of the simulator.</summary>
    public Action<Exception>? Faulted { get; init; }

    /// <summary>Gets one line for each call on a file of the machine; not closed.</summary>
    public TextWriter? TraceText { get; init; }

    /// <summary>Gets one JSON object a line for each call on a file of the machine; not closed.</summary>
    public Stream? TraceRecord { get; init; }

    /// <summary>Finds a program as execvp does: the first of its name on PATH that is executable.</summary>
    /// <returns>Its file, or one that is not executable, or null.</returns>
    public static string? Find(string name) => name.Contains('/', StringComparison.Ordinal)
        ? System.IO.Path.Exists(name) ? System.IO.Path.GetFullPath(name) : null
        : (Environment.GetEnvironmentVariable("PATH") ?? "/usr/bin:/bin").Split(':')
            .Select(folder => System.IO.Path.Combine(folder, name)).Where(File.Exists).OrderByDescending(IsExecutable).FirstOrDefault();

    /// <summary>Whether anybody may execute it.</summary>
    public static bool IsExecutable(string path) => !Directory.Exists(path)
        && (File.GetUnixFileMode(path) & (UnixFileMode.UserExecute | UnixFileMode.GroupExecute | UnixFileMode.OtherExecute)) != 0;

    /// <summary>Runs the program to its end.</summary>
    /// <returns>Its exit status; 128 + N when signal N ended it.</returns>
    /// <exception cref="ForeignException">It could not be started.</exception>
    public int Run()
    {
        using var trace = TraceText is null && TraceRecord is null ? null : new ForeignTrace(TraceText, TraceRecord);
        var run = new ForeignRun
        {
            StubCommand = StubCommand,
            KeeperCommand = KeeperCommand,
            Machine = new SimulatedHostFiles(Machine),
            Serving = supervisor => (supervisor.Faulted, supervisor.Trace) = (Faulted, trace),
        };
        var status = run.Run(Path, Arguments, out var left);
        LeftBehind = left;
        return status;
    }

    /// <summary>The child's side: becomes the program.</summary>
    /// <param name="arguments">What was appended to <see cref="StubCommand"/>.</param>
    /// <returns>Only when it failed; the other side has been told why.</returns>
    public static int RunStub(ReadOnlySpan<string> arguments) => arguments is [var socket, var error, var first, var end, var path, ..]
        && int.TryParse(socket, out var socketNumber) && int.TryParse(error, out var errorNumber)
        && int.TryParse(first, out var firstNumber) && int.TryParse(end, out var endNumber)
        ? ForeignStub.Run(socketNumber, errorNumber, firstNumber, endNumber, path, [.. arguments[5..]])
        : 127;
}
