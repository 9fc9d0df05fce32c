using System.Globalization;
using System.Runtime.InteropServices;

namespace Benchmarks;

/// <summary>The table, for the terminal and for docs/performance.md.</summary>
internal sealed class Report
{
    // What follows this heading in the report was written by hand, and stays.
    private const string ByHand = "## What limits what";

    private readonly List<(int Row, string Line)> _lines = [];
    private readonly string _loadBefore = Load();

    public IReadOnlyList<string> Head { get; } = ["| # | Case | C | C# | Ratio | Goal | Verdict |", "|--:|---|--:|--:|--:|--:|---|"];

    public int Missed { get; private set; }

    public bool HasLines => _lines.Count != 0;

    public string Add(Case one, in Measurement found)
    {
        var culture = CultureInfo.InvariantCulture;
        var isRatio = one.Baseline != null;
        var goal = found.IsMet == null ? "" : string.Create(culture, $"{(one.IsFloor ? ">= " : "")}{one.Goal:0.###}{(isRatio ? "x" : " " + one.Unit)}");
        return Add(string.Create(
            culture,
            $"| {one.Row} | {one.Name} | {(isRatio ? $"{Number(found.C)} {one.Unit}" : "")} | {Number(found.Managed)} {one.Unit} | {(isRatio ? found.Figure.ToString("0.00", culture) : "")} | {goal} | {(found.IsMet == null ? "" : found.IsMet.Value ? "met" : "MISSED")} |"));
    }

    /// <summary>A line that is finished.</summary>
    public string Add(string line)
    {
        _lines.Add((int.Parse(line.Split('|')[1], CultureInfo.InvariantCulture), line));
        Missed += line.Contains("MISSED", StringComparison.Ordinal) ? 1 : 0;
        return line;
    }

    public void Write(string path)
    {
        var old = File.Exists(path) ? File.ReadAllLines(path) : [];
        var byHand = Array.IndexOf(old, ByHand);
        File.WriteAllLines(path, [
            "# Performance",
            "",
            "Written by `scripts/bench` down to the heading \"What limits what\", which is written by hand. C and C# are measured in turns in one run. A figure is the median over 7 rounds",
            "(fewer for what takes long) of each round's best of 5, the ratio the median of the rounds' ratios. A goal counts as missed when two such measurements in a row miss it.",
            "",
            $"Run of {DateTime.UtcNow:yyyy-MM-dd HH:mm} UTC on {Processor()}, {Environment.ProcessorCount} processors, .NET {Environment.Version}, {RuntimeInformation.OSArchitecture}.",
            $"Load average (1, 5, 15 minutes) before: {_loadBefore}; after: {Load()}. With a load above the number of processors, figures in nanoseconds are too high, and ratios are less sure.",
            "",
            .. Head,
            .. _lines.OrderBy(static line => line.Row).Select(static line => line.Line),
            "",
            Missed == 0 ? "Every goal is met." : Missed == 1 ? "1 goal is missed." : $"{Missed} goals are missed.",
            "",
            "Rows without a figure for C have an absolute goal, which holds for a quiet machine of about 3 GHz; rows without a goal are for information.",
            "",
            .. byHand < 0 ? [ByHand] : old[byHand..],
        ]);
    }

    private static string Number(double figure) => figure.ToString(figure < 100 ? "0.00" : "0", CultureInfo.InvariantCulture);

    private static string Load() => string.Join(' ', File.ReadAllText("/proc/loadavg").Split(' ')[..3]);

    private static string Processor() =>
        File.ReadLines("/proc/cpuinfo").FirstOrDefault(l => l.StartsWith("model name", StringComparison.Ordinal))?.Split(':')[1].Trim() ?? "an unnamed processor";
}
