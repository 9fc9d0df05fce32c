using Benchmarks;

// Benchmarks BASELINE REPORT [CASE...]: runs each case and its C baseline in turn, and prints one line per case; a run of all cases is written to REPORT.
// The ratio of a round is best by best; the figure given is the median over the rounds. Exit code 1 when a goal is missed twice in a row.
const int rounds = 7, repeats = 5;
if (args.Length < 2)
{
    Console.Error.WriteLine("usage: Benchmarks BASELINE REPORT [CASE...]\nCause: the path of the C baseline or of the report is missing. Remedy: use scripts/bench, which gives both.");
    return 2;
}

using var baseline = new BaselineProcess(args[0]);
using var library = new LibraryCases();
var wanted = args[2..];
var report = new Report();
foreach (var line in Report.Head)
    Console.WriteLine(line);
foreach (var one in new HardwareCases().All().Concat(library.All()))
{
    if (wanted.Length != 0 && !Array.Exists(wanted, w => one.Name.Contains(w, StringComparison.OrdinalIgnoreCase)))
        continue;
    WarmUp(one);
    var (c, managed, ratio) = Measure(one);
    bool? good = double.IsNaN(one.Goal) ? null : ratio <= one.Goal;
    if (good == false)
    {
        // Perhaps the compiler was late: a busy machine starves its thread.
        WarmUp(one);
        (c, managed, ratio) = Measure(one);
        good = ratio <= one.Goal;
    }

    Console.WriteLine(report.Add(one, c, managed, ratio, good));
}

Console.WriteLine();
Console.WriteLine(report.Missed == 0 ? "every goal met" : $"{report.Missed} goals missed");
if (wanted.Length == 0)
    report.Write(args[1]);
return report.Missed == 0 ? 0 : 1;

// Past the tiers: call counts, then time for the background compiler.
static void WarmUp(Case one)
{
    for (var warm = 0; warm < 4; warm++)
    {
        var until = Environment.TickCount64 + 40;
        for (var i = 0; i < 40 && Environment.TickCount64 < until; i++)
            one.Run();
        Thread.Sleep(110);
    }
}

(double C, double Managed, double Ratio) Measure(Case one)
{
    var cs = new double[rounds];
    var managed = new double[rounds];
    var ratios = new double[rounds];
    for (var round = 0; round < rounds; round++)
    {
        cs[round] = managed[round] = double.MaxValue;
        for (var i = 0; i < repeats; i++)
        {
            if (one.Baseline != null)
                cs[round] = Math.Min(cs[round], baseline.Run(one.Baseline));
            managed[round] = Math.Min(managed[round], one.Run());
        }

        ratios[round] = one.Baseline == null ? managed[round] : managed[round] / cs[round];
    }

    Array.Sort(cs);
    Array.Sort(managed);
    Array.Sort(ratios);
    return (cs[rounds / 2], managed[rounds / 2], ratios[rounds / 2]);
}
