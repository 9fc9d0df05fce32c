using System.Globalization;
using Benchmarks;

// Benchmarks BASELINE [CASE...]: runs each case and its C baseline in turn, and prints one line per case.
// The ratio of a round is best by best; the figure given is the median over the rounds. Exit code 1 when a goal is missed twice in a row.
const int rounds = 7, repeats = 5;
if (args.Length == 0)
{
    Console.Error.WriteLine("usage: Benchmarks BASELINE [CASE...]\nCause: the path of the C baseline is missing. Remedy: use scripts/bench, which builds it.");
    return 2;
}

using var baseline = new BaselineProcess(args[0]);
var wanted = args[1..];
var missed = 0;
Console.WriteLine("| Case | C | C# | Ratio | Goal | Verdict |");
Console.WriteLine("|---|--:|--:|--:|--:|---|");
foreach (var one in new HardwareCases().All())
{
    if (wanted.Length != 0 && !Array.Exists(wanted, w => one.Name.Contains(w, StringComparison.OrdinalIgnoreCase)))
        continue;
    // Past the tiers: call counts, then time for the background compiler.
    for (var warm = 0; warm < 4; warm++)
    {
        var until = Environment.TickCount64 + 40;
        for (var i = 0; i < 40 && Environment.TickCount64 < until; i++)
            one.Run();
        Thread.Sleep(110);
    }

    var (c, managed, ratio) = Measure(one);
    var good = double.IsNaN(one.Goal) || ratio <= one.Goal;
    if (!good)
    {
        (c, managed, ratio) = Measure(one);
        good = ratio <= one.Goal;
    }

    missed += good ? 0 : 1;
    var verdict = double.IsNaN(one.Goal) ? "" : good ? "met" : "MISSED";
    Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
        $"| {one.Name} | {(one.Baseline == null ? "" : $"{c:0.00} {one.Unit}")} | {managed:0.00} {one.Unit} | {(one.Baseline == null ? "" : $"{ratio:0.00}")} | {(double.IsNaN(one.Goal) ? "" : $"{one.Goal:0.00}{(one.Baseline == null ? " " + one.Unit : "x")}")} | {verdict} |"));
}

Console.WriteLine();
Console.WriteLine(missed == 0 ? "every goal met" : $"{missed} goals missed");
return missed == 0 ? 0 : 1;

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
