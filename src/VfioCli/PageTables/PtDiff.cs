using IommuFd.HwSim;
using IommuFd.HwSim.PageTables;
using VfioCli.CommandLine;
using VfioCli.Output;

namespace VfioCli.PageTables;

/// <summary><c>vfio pt diff</c>: what two tables map differently, wherever their own pages are.</summary>
internal static class PtDiff
{
    /// <summary>Compares. Exit status 1 when they differ.</summary>
    public static ExitCode Run(Terminal terminal, PageTableTool tool, string a, string b, string roots)
    {
        string[] both = roots.Split(',');
        if (both.Length > 2)
        {
            throw new CommandFailure(ExitCode.Usage, $"--root {roots} names {both.Length} roots.", "Write ADDR for both images or ADDR,ADDR.");
        }

        using MemoryImage left = ImageText.Open(a), right = ImageText.Open(b);
        List<(char Side, PageTableLeaf Leaf)> differences = Compare(
            tool.Leaves(left.Memory, NumberText.Parse(both[0], "--root")), tool.Leaves(right.Memory, NumberText.Parse(both[^1], "--root")));
        // Runs of a side that are not interrupted by the other are told as one.
        List<(char Side, PageRun Run)> runs = [];
        foreach (char side in "-+")
        {
            runs.AddRange(PageRun.Of(differences.Where(d => d.Side == side).Select(static d => d.Leaf)).Select(run => (side, run)));
        }

        runs.Sort(static (x, y) => x.Run.First.Address != y.Run.First.Address
            ? x.Run.First.Address.CompareTo(y.Run.First.Address)
            : y.Side.CompareTo(x.Side));
        foreach ((char side, PageRun run) in runs)
        {
            terminal.Line($"{side} {run}");
        }

        terminal.Line(runs.Count == 0 ? "the same pages" : $"{differences.Count} pages differ (- only in {a}, + only in {b})");
        if (terminal.Json)
        {
            JsonReport.Write(terminal, "vfio.pt.diff/1", writer =>
            {
                writer.WriteString("format", tool.Name);
                foreach ((string name, char wanted) in new[] { ("onlyInA", '-'), ("onlyInB", '+') })
                {
                    writer.WriteStartArray(name);
                    foreach ((char side, PageRun run) in runs)
                    {
                        if (side == wanted)
                        {
                            run.Write(writer);
                        }
                    }

                    writer.WriteEndArray();
                }
            });
        }

        return runs.Count == 0 ? ExitCode.Ok : ExitCode.No;
    }

    // Both are in the order of their tables, so one pass is enough. Where the entry stands does not matter, what it says does.
    private static List<(char Side, PageTableLeaf Leaf)> Compare(IEnumerable<PageTableLeaf> a, IEnumerable<PageTableLeaf> b)
    {
        List<(char, PageTableLeaf)> differences = [];
        using IEnumerator<PageTableLeaf> left = a.GetEnumerator(), right = b.GetEnumerator();
        bool hasLeft = left.MoveNext(), hasRight = right.MoveNext();
        while (hasLeft || hasRight)
        {
            if (hasLeft && hasRight && left.Current == right.Current)
            {
                hasLeft = left.MoveNext();
                hasRight = right.MoveNext();
            }
            else if (hasLeft && (!hasRight || left.Current.Address <= right.Current.Address))
            {
                differences.Add(('-', left.Current));
                hasLeft = left.MoveNext();
            }
            else
            {
                differences.Add(('+', right.Current));
                hasRight = right.MoveNext();
            }
        }

        return differences;
    }
}
