using System.Diagnostics;
using System.Globalization;

namespace Benchmarks;

/// <summary>The C program, which runs a case for each line it is given.</summary>
internal sealed class BaselineProcess : IDisposable
{
    private readonly Process _process;

    public BaselineProcess(string path, params string[] arguments) => _process = Process.Start(
        new ProcessStartInfo(path, arguments) { RedirectStandardInput = true, RedirectStandardOutput = true, UseShellExecute = false })!;

    public double Run(string name)
    {
        _process.StandardInput.WriteLine(name);
        _process.StandardInput.Flush();
        var answer = double.Parse(_process.StandardOutput.ReadLine()!, CultureInfo.InvariantCulture);
        return answer >= 0 ? answer : throw new InvalidOperationException($"the baseline has no case '{name}'");
    }

    public void Dispose()
    {
        _process.StandardInput.Close();
        _process.WaitForExit(1000);
        _process.Dispose();
    }
}
