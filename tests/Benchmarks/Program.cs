using System.Globalization;
using Benchmarks;

// Benchmarks BASELINE REPORT OUTSIDE [CASE...]: runs each case and its C baseline in turn, and prints one line per case; a run of all cases is written to REPORT,
// with the lines of the file OUTSIDE, which scripts measured. Benchmarks kernel PROGRAM CDEV CDEV MIB NOTE: the cases on the real kernel, with two devices that a VFIO
// driver has and flows of a guest with so much memory; NOTE is part of their names.
// Benchmarks bdn [FILTER]: some of the calls one by one under BenchmarkDotNet.
// The ratio of a round is best by best; the figure given is the median over the rounds. Exit code 1 when a goal is missed twice in a row.
var report = new Report();
if (args is ["kernel", var program, var first, var second, var mebibytes, var note])
{
    Measure(new KernelCases(first), cases => cases.All(note));

    // Nobody has the devices open now: in the flows C and C# have both, in turn.
    var memory = ulong.Parse(mebibytes, CultureInfo.InvariantCulture) << 20;
    Measure(FlowCases.OnKernel(first, second, memory), cases => cases.BesideC($"guest of {mebibytes} MiB, {note}"));
    return report.Missed == 0 ? 0 : 1;

    void Measure<T>(T cases, Func<T, IEnumerable<Case>> list)
        where T : IDisposable
    {
        using var beside = new BaselineProcess(program, first, second, mebibytes);
        using (cases)
        {
            foreach (var one in list(cases))
                Console.WriteLine(report.Add(one, Measurement.Of(one, beside)));
        }
    }
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
