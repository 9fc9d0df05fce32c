namespace Benchmarks;

/// <summary>Something that is measured.</summary>
/// <param name="Name">Its name, as at the command line.</param>
/// <param name="Baseline">The C case that does the least of the same work; null when there is none and the goal is absolute.</param>
/// <param name="Unit">What a figure counts, for the table.</param>
/// <param name="Goal">The highest ratio to C, or the highest figure when there is no baseline.</param>
/// <param name="Run">Does the work once; returns nanoseconds (or the unit) per operation.</param>
internal sealed record Case(string Name, string? Baseline, string Unit, double Goal, Func<double> Run);
