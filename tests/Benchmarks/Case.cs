namespace Benchmarks;

/// <summary>Something that is measured.</summary>
/// <param name="Row">The row of the goals that it belongs to.</param>
/// <param name="Name">Its name, as at the command line.</param>
/// <param name="Baseline">The C case that does the least of the same work; null when there is none and the goal is absolute.</param>
/// <param name="Unit">What a figure counts, for the table.</param>
/// <param name="Goal">The highest ratio to C, or the highest figure when there is no baseline; not a number when the figure is for information.</param>
/// <param name="Prepare">Sets the case up, when it is wanted, and gives what does the work once and returns nanoseconds (or the unit) per operation.</param>
internal sealed record Case(int Row, string Name, string? Baseline, string Unit, double Goal, Func<Func<double>> Prepare)
{
    /// <summary>Rounds of which the median is taken, and repeats of which each round takes the best. Fewer for what takes long.</summary>
    public (int Rounds, int Repeats) Times { get; init; } = (7, 5);

    /// <summary>The goal is a floor, as for operations per second.</summary>
    public bool IsFloor { get; init; }

    /// <summary>The figure is C's by C#'s too when nothing of C runs: both sides come from <see cref="Prepare"/>.</summary>
    public static Case Absolute(int row, string name, string unit, double goal, Func<Func<double>> prepare) => new(row, name, null, unit, goal, prepare);

    /// <summary>True when the figure is good enough.</summary>
    /// <param name="figure">Ratio, or figure.</param>
    public bool IsMet(double figure) => IsFloor ? figure >= Goal : figure <= Goal;
}
