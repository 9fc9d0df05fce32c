using System.Diagnostics;
using IommuFd.Tests;
using Xunit;

namespace VfioCli.Tests;

/// <summary>A C program of this repository, compiled by gcc for the time of a test.</summary>
internal sealed class CProgram : IDisposable
{
    private CProgram(string path) => Path = path;

    public string Path { get; }

    /// <summary>Compiles <paramref name="source"/>, a path below the repository's root. Skips the test where there is no compiler.</summary>
    public static async Task<CProgram> Compile(string source, params string[] options)
    {
        Assert.SkipWhen(Repository.Root is null, "the sources are not where only the binaries are");
        string[] places = (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':');
        Assert.SkipUnless(places.Any(static p => File.Exists(System.IO.Path.Combine(p, "gcc"))) && File.Exists("/usr/include/linux/vfio.h"),
            "gcc and the kernel's headers are not installed here");
        CProgram program =
            new(System.IO.Path.Combine(System.IO.Path.GetTempPath(), $"{System.IO.Path.GetFileNameWithoutExtension(source)}-{Guid.NewGuid():N}"));
        var (status, output, error) =
            await Run("gcc", ["-Wall", "-Werror", .. options, "-o", program.Path, System.IO.Path.Combine(Repository.Root, source), "-lpthread"]);
        Assert.True(status == 0, output + error);
        return program;
    }

    /// <summary>Runs a program to its end.</summary>
    public static async Task<(int Status, string Output, string Error)> Run(string program, params string[] arguments)
    {
        using Process process =
            Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        CancellationToken cancel = TestContext.Current.CancellationToken;
        Task<string> output = process.StandardOutput.ReadToEndAsync(cancel), error = process.StandardError.ReadToEndAsync(cancel);
        await process.WaitForExitAsync(cancel);
        return (process.ExitCode, await output, await error);
    }

    /// <summary>Runs it under <c>vfio sim run</c>. Skips the test where the host cannot.</summary>
    public async Task<(int Status, string Output, string Error)> UnderSimulator(string topology, params string[] arguments)
    {
        var ended = await Run("dotnet", [typeof(Program).Assembly.Location, "sim", "run", "--topology", topology, "--", Path, .. arguments]);
        Assert.SkipWhen(ended.Status == 6, $"this host cannot run programs on the simulated machine: {ended.Error}");
        return ended;
    }

    public void Dispose() => File.Delete(Path);
}
