using System.Globalization;
using Benchmarks;

// Benchmarks BASELINE REPORT OUTSIDE [CASE...]: runs each case and its C baseline in turn, and prints one line per case; a run of all cases is written to REPORT,
// with the lines of the file OUTSIDE, which scripts measured. On the real kernel, with two devices that a VFIO driver has: Benchmarks kernel PROGRAM CDEV CDEV NOTE
// (map and unmap; one device is C's), Benchmarks flows PROGRAM CDEV CDEV MIB NOTE (the flows, of a guest with so much memory). NOTE is part of the cases' names.
// Benchmarks bdn [FILTER]: some of the calls one by one under BenchmarkDotNet.
// The ratio of a round is best by best; the figure given is the median over the rounds. Exit code 1 when a goal is missed twice in a row.
var report = new Report();
if (args is ["kernel", var maps, var ours, var theirs, var how])
    return Measure(new KernelCases(ours), cases => cases.All(how), new BaselineProcess(maps, theirs));
if (args is ["flows", var flows, var first, var second, var mebibytes, var note])
{
    // C and C# have both devices in turn.
    return Measure(FlowCases.OnKernel(first, second, ulong.Parse(mebibytes, CultureInfo.InvariantCulture) << 20), cases => cases.BesideC(note),
        new BaselineProcess(flows, first, second, mebibytes));
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

using var c = new BaselineProcess(args[0]);
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
    Console.WriteLine(report.Add(one, Measurement.Of(one, c)));
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

int Measure<T>(T cases, Func<T, IEnumerable<Case>> list, BaselineProcess beside)
    where T : IDisposable
{
    using (beside)
    using (cases)
    {
        foreach (var one in list(cases))
            Console.WriteLine(report.Add(one, Measurement.Of(one, beside)));
    }

    return report.Missed == 0 ? 0 : 1;
}
