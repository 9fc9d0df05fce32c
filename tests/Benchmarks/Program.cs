using Benchmarks;

// Benchmarks BASELINE REPORT [CASE...]: runs each case and its C baseline in turn, and prints one line per case; a run of all cases is written to REPORT.
// The ratio of a round is best by best; the figure given is the median over the rounds. Exit code 1 when a goal is missed twice in a row.
if (args.Length < 2)
{
    Console.Error.WriteLine("usage: Benchmarks BASELINE REPORT [CASE...]\nCause: the path of the C baseline or of the report is missing. Remedy: use scripts/bench, which gives both.");
    return 2;
}

using var baseline = new BaselineProcess(args[0]);
using var all = new AllCases();
var wanted = args[2..];
var report = new Report();
foreach (var line in Report.Head)
    Console.WriteLine(line);
var found = false;
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

Console.WriteLine(report.Missed == 0 ? "every goal met" : $"{report.Missed} goals missed");
if (wanted.Length == 0)
    report.Write(args[1]);
return report.Missed == 0 ? 0 : 1;
