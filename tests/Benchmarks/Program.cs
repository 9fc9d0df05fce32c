using Benchmarks;
using IommuFd.Native;
using IommuFd.Sysfs;

// Benchmarks BASELINE REPORT OUTSIDE [CASE...]: runs each case and its C baseline in turn, and prints one line per case; a run of all cases is written to REPORT,
// with the lines of the file OUTSIDE, which scripts measured. Benchmarks kernel BASELINE ADDRESS ADDRESS CDEV: the cases on the real kernel, our device and C's.
// Benchmarks bdn [FILTER]: some of the calls one by one under BenchmarkDotNet.
// The ratio of a round is best by best; the figure given is the median over the rounds. Exit code 1 when a goal is missed twice in a row.
var report = new Report();
if (args is ["kernel", var program, var address, var other, var cdev])
{
    using (var kernel = new BaselineProcess(program, cdev))
    using (var cases = new KernelCases(address))
    {
        foreach (var one in cases.All())
            Console.WriteLine(report.Add(one, Measurement.Of(one, kernel)));
    }

    // C has let go of its device.
    using var host = new LinuxHost();
    using var flows = new FlowCases(host, PciAddress.Parse(address), PciAddress.Parse(other), PciAddress.Parse(address));
    foreach (var one in flows.OnKernel())
        Console.WriteLine(report.Add(one, Measurement.Of(one, null)));
    return report.Missed == 0 ? 0 : 1;
}

if (args is ["bdn", ..])
{
    MicroBenchmarks.Run(args.ElementAtOrDefault(1) ?? "");
    return 0;
}

if (args.Length < 3)
{
    Console.Error.WriteLine("usage: Benchmarks BASELINE REPORT OUTSIDE [CASE...]\nCause: the path of the C baseline, of the report or of the outside lines is missing. Remedy: use scripts/bench, which gives all.");
    return 2;
}

using var baseline = new BaselineProcess(args[0]);
using var all = new AllCases();
var wanted = args[3..];
report.Head.ToList().ForEach(Console.WriteLine);
foreach (var line in File.ReadLines(args[2]).Where(static line => line.StartsWith('|')))
    Console.WriteLine(report.Add(line));
var found = report.HasLines;
foreach (var one in all.InOrder())
{
    if (wanted.Length != 0 && !Array.Exists(wanted, w => w.All(char.IsAsciiDigit) ? w == $"{one.Row}" : one.Name.Contains(w, StringComparison.OrdinalIgnoreCase)))
        continue;
    found = true;
    Console.WriteLine(report.Add(one, Measurement.Of(one, baseline)));
}

Console.WriteLine();
if (!found)
{
    Console.Error.WriteLine($"error: no case's name contains '{string.Join("' or '", wanted)}', and none is of a row with that number. Remedy: run without arguments to see all names.");
    return 2;
}

Console.WriteLine(report.Missed == 0 ? "every goal met" : report.Missed == 1 ? "1 goal missed" : $"{report.Missed} goals missed");
if (wanted.Length == 0)
    report.Write(args[1]);
return report.Missed == 0 ? 0 : 1;
