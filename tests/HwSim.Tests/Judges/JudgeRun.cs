using System.Globalization;
using System.Text;
using Xunit;

namespace HwSim.Tests.Judges;

/// <summary>One comparison with an independent judge: counts cases, keeps the differences, and reports one line for docs/fidelity.md.</summary>
/// <remarks>
/// <c>VFIO_JUDGE_FULL=1</c> runs the full number of cases, <c>VFIO_JUDGE_SEED</c> chooses other ones, <c>VFIO_JUDGE_REPORT</c> names the file for the
/// lines.
/// </remarks>
public sealed class JudgeRun
{
    private readonly string _judge, _format;
    private readonly SortedDictionary<string, int> _departures = [];
    private readonly StringBuilder _differences = new();
    private int _differing;

    /// <summary>Begins a comparison.</summary>
    /// <param name="judge">Who judges, as the report names it.</param>
    /// <param name="format">What is judged.</param>
    /// <param name="shortCases">Cases in an ordinary test run.</param>
    /// <param name="fullCases">Cases in a full run.</param>
    public JudgeRun(string judge, string format, int shortCases, int fullCases)
    {
        _judge = judge;
        _format = format;
        Goal = IsFull ? fullCases : shortCases;
        Seed = int.TryParse(Environment.GetEnvironmentVariable("VFIO_JUDGE_SEED"), CultureInfo.InvariantCulture, out var seed) ? seed : 20260711;
        Random = new Random(Seed);
    }

    public static bool IsFull => Environment.GetEnvironmentVariable("VFIO_JUDGE_FULL") == "1";

    public int Seed { get; }

    public Random Random { get; }

    /// <summary>Number of cases wanted.</summary>
    public int Goal { get; }

    /// <summary>Number of cases compared so far.</summary>
    public int Cases { get; private set; }

    /// <summary>Compares one case.</summary>
    /// <param name="ours">Our answer.</param>
    /// <param name="theirs">The judge's.</param>
    /// <param name="departure">Names the judge's known departure from the specification, or null when the two must agree.</param>
    /// <param name="describe">Tells the case, for the report of a difference.</param>
    public void Compare<T>(T ours, T theirs, Func<string?> departure, Func<string> describe)
        where T : IEquatable<T>
    {
        Cases++;
        if (ours.Equals(theirs))
            return;
        if (departure() is { } name)
        {
            _departures[name] = _departures.GetValueOrDefault(name) + 1;
            return;
        }

        if (_differing++ < 10)
            _differences.AppendLine(CultureInfo.InvariantCulture, $"case {Cases}: ours {ours}, {_judge} {theirs}: {describe()}");
    }

    /// <summary>Reports, and fails the test when there are differences.</summary>
    public void Finish()
    {
        if (Environment.GetEnvironmentVariable("VFIO_JUDGE_REPORT") is { Length: > 0 } file)
        {
            var departures = string.Join("; ", _departures.Select(d => $"{d.Key}: {d.Value}"));
            File.AppendAllText(file, $"{_format}\t{_judge}\t{Cases}\t{_differing}\t{departures}\t{Seed}\n");
        }

        Assert.True(_differing == 0, $"{_differing} of {Cases} cases differ (VFIO_JUDGE_SEED={Seed}):\n{_differences}");
        Assert.True(Cases >= Goal, $"only {Cases} of {Goal} cases were compared");
    }
}
