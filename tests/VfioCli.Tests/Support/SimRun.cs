using System.Diagnostics;
using Xunit;

namespace VfioCli.Tests.Support;

/// <summary>The vfio command as a process of its own, for what only a process has: children, a seccomp filter, signals.</summary>
internal static class SimRun
{
    /// <summary>The command, as a shell's words.</summary>
    public static string Command { get; } = $"dotnet {typeof(Program).Assembly.Location}";

    /// <summary>Runs a script under <c>vfio sim run</c>. Skips the test where the host cannot.</summary>
    public static (int Status, string Output, string Error) Run(string script, string shell = "sh")
    {
        var (status, output, error) = Start(["sim", "run", "--", shell, "-c", script]);
        Assert.SkipWhen(status == 6, $"this host cannot run programs on the simulated machine: {error}");
        return (status, output, error);
    }

    /// <summary>Runs the command itself, as a process.</summary>
    public static (int Status, string Output, string Error) Start(string[] arguments) =>
        Start("dotnet", [typeof(Program).Assembly.Location, .. arguments]);

    /// <summary>Runs a program to its end.</summary>
    public static (int Status, string Output, string Error) Start(string program, string[] arguments)
    {
        ProcessStartInfo info = new(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        using Process process = Process.Start(info)!;
        Task<string> output = process.StandardOutput.ReadToEndAsync(), error = process.StandardError.ReadToEndAsync();

        // The streams end when the last program that inherited them does: one deadline for all of it, so that a program left waiting is a failure,
        // not a hang.
        if (!Task.WaitAll([output, error], TimeSpan.FromMinutes(3)) || !process.WaitForExit(60_000))
        {
            process.Kill(entireProcessTree: true);
            Assert.Fail($"{program} {string.Join(' ', arguments)}: still running after 3 minutes");
        }

        return (process.ExitCode, output.Result, error.Result);
    }
}
