using System.Diagnostics;

namespace Native.Tests.Abi;

/// <summary>gcc, asked for nothing but its opinion: no code is generated, no header of this machine is read.</summary>
internal static class CCompiler
{
    internal const string Missing = "gcc is not installed here; the ABI proof needs a C compiler (Debian: apt install gcc).";

    internal static bool IsThere { get; } = (Environment.GetEnvironmentVariable("PATH") ?? "")
        .Split(':')
        .Any(directory => File.Exists(Path.Combine(directory, "gcc")));

    /// <summary>Compiles a source text against the vendored headers.</summary>
    /// <returns>The compiler's complaints; empty when it accepts the text.</returns>
    internal static string Complaints(string source)
    {
        var start = new ProcessStartInfo("gcc")
        {
            RedirectStandardInput = true,
            RedirectStandardError = true,
            RedirectStandardOutput = true,
            Environment = { ["LC_ALL"] = "C" },
        };
        foreach (string argument in new[] { "-std=gnu11", "-fsyntax-only", "-nostdinc", "-isystem", Header.Root, "-x", "c", "-" })
        {
            start.ArgumentList.Add(argument);
        }

        using Process gcc = Process.Start(start)!;
        Task<string> errors = gcc.StandardError.ReadToEndAsync();
        gcc.StandardInput.Write(source);
        gcc.StandardInput.Close();
        gcc.WaitForExit();
        string text = errors.GetAwaiter().GetResult();
        return gcc.ExitCode == 0 ? "" : text.Length > 0 ? text : $"gcc ended with {gcc.ExitCode}";
    }
}
