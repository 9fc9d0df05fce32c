using System.Diagnostics;
using System.Runtime.InteropServices;
using Xunit;

namespace HwSim.Tests.Judges.Qemu;

/// <summary>One QEMU without a guest: a CPU that halts, devices, and the qtest protocol. Skips the test with the reason when there is none.</summary>
public sealed partial class QemuProcess : IDisposable
{
    /// <summary>The version to which the list of known departures (<see cref="QemuDepartures"/>) belongs.</summary>
    public const string Version = "10.0.2";

    private readonly Process _process;
    private readonly string _folder = Directory.CreateTempSubdirectory("iommufd-judge-").FullName;

    /// <summary>Starts it.</summary>
    /// <param name="binary">qemu-system-x86_64, -aarch64 or -riscv64.</param>
    /// <param name="haltOffset">Where in the 64 KiB of firmware the CPU begins.</param>
    /// <param name="halt">Instructions that halt the CPU for ever: virtual time then jumps to the devices' timers.</param>
    /// <param name="arguments">Machine and devices.</param>
    public QemuProcess(string binary, int haltOffset, byte[] halt, params string[] arguments)
    {
        SkipUnlessUsable(binary);
        var bios = new byte[64 * 1024];
        halt.CopyTo(bios, haltOffset);
        File.WriteAllBytes(Path.Combine(_folder, "halt.bin"), bios);

        // The shell gives QEMU a file for its complaints (an undrained pipe would block it) and becomes QEMU.
        ProcessStartInfo start = new("/bin/sh") { RedirectStandardInput = true, RedirectStandardOutput = true };
        string[] common =
        [
            "-accel", "tcg", "-icount", "shift=0,sleep=off", "-bios", Path.Combine(_folder, "halt.bin"), "-m", "4096",
            "-display", "none", "-nodefaults", "-qtest", "stdio", "-qtest-log", "none",
        ];
        foreach (var argument in (string[])["-c", "exec \"$@\" 2>\"$0\"", ErrorFile, binary, .. arguments[..2], .. common, .. arguments[2..]])
            start.ArgumentList.Add(argument);
        _process = Process.Start(start)!;
        Qtest = new QtestClient(_process.StandardInput.BaseStream, _process.StandardOutput.BaseStream, Complaint);
    }

    /// <summary>The protocol.</summary>
    public QtestClient Qtest { get; }

    private string ErrorFile => Path.Combine(_folder, "stderr");

    public void Dispose()
    {
        // End of input does not end it; a polite signal does.
        if (!_process.HasExited)
            _ = Kill(_process.Id, 15);
        if (!_process.WaitForExit(5000))
            _process.Kill();
        _process.Dispose();
        Directory.Delete(_folder, true);
    }

    private string Complaint()
    {
        var text = File.Exists(ErrorFile) ? File.ReadAllText(ErrorFile) : "";
        return text.Length == 0 ? "" : " It said: " + text[^Math.Min(text.Length, 2000)..];
    }

    private static void SkipUnlessUsable(string binary)
    {
        string version;
        try
        {
            using var process =
                Process.Start(new ProcessStartInfo(binary, "--version") { RedirectStandardOutput = true, RedirectStandardError = true })!;
            version = process.StandardOutput.ReadLine() ?? "";
            process.WaitForExit();
        }
        catch (System.ComponentModel.Win32Exception)
        {
            Assert.Skip($"{binary} is not installed; scripts/judges installs it.");
            return;
        }

        Assert.SkipUnless(version.Contains("version " + Version, StringComparison.Ordinal),
            $"{binary} is '{version}'; the known departures from the specifications belong to {Version}.");
    }

    [LibraryImport("libc", EntryPoint = "kill")]
    private static partial int Kill(int pid, int signal);
}
