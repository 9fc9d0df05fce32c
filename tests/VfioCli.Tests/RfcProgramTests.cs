using System.Diagnostics;
using IommuFd.Tests;
using Xunit;

namespace VfioCli.Tests;

/// <summary>A C program written against the proposal's header, compiled by gcc and run unmodified on the simulated machine 'rfc'.</summary>
public sealed class RfcProgramTests : IDisposable
{
    private readonly string _program = Path.Combine(Path.GetTempPath(), $"flow43-{Guid.NewGuid():N}");

    public void Dispose() => File.Delete(_program);

    [Fact]
    [Trait("rfc", "4.3")]
    [Trait("rfc", "1.1-shadow-follows")]
    [Trait("rfc", "NUMBERS")]
    public async Task Flow_4_3_in_C_with_both_numberings()
    {
        Assert.SkipWhen(Repository.Root is null, "the sources are not where only the binaries are");
        string[] places = (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':');
        Assert.SkipUnless(places.Any(static p => File.Exists(Path.Combine(p, "gcc"))) && File.Exists("/usr/include/linux/vfio.h"), "gcc and the kernel's headers are not installed here");
        string root = Repository.Root!;
        var compiled = await Run("gcc", "-Wall", "-Werror", "-I", Path.Combine(root, "tests/uapi/rfc"), "-o", _program, Path.Combine(root, "samples/RfcFlows/c/flow43.c"));
        Assert.True(compiled.Status == 0, compiled.Text);
        var (status, text) = await Run("dotnet", typeof(Program).Assembly.Location, "sim", "run", "--topology", "rfc", "--", _program);
        Assert.SkipWhen(status == 6, $"this host cannot run programs on the simulated machine: {text}");
        Assert.True(status == 0 && text.Contains("flow 4.3: ok", StringComparison.Ordinal), text);
    }

    private static async Task<(int Status, string Text)> Run(string program, params string[] arguments)
    {
        using Process process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        Task<string> output = process.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken), error = process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        return (process.ExitCode, await output + await error);
    }
}
