using System.Text;
using System.Text.RegularExpressions;

namespace HwSim.Tests.Docs;

/// <summary>
/// The tables of docs/rfc-v2.md: what each row says is written by hand, which test shows it is found in the sources of the tests. A test belongs to a
/// row by [Trait("rfc", "ROW")], or ROW and its dialects, and "refused" when it shows that they say no.
/// </summary>
internal static partial class RfcTable
{
    private static readonly string[] s_dialects = ["rfc", "mainline", "legacy"];

    /// <summary>The document with the last three cells of each row made anew.</summary>
    public static string Fill(string document, IReadOnlyList<(string Value, string Test)> tests)
    {
        var lines = new StringBuilder();
        foreach (string line in document.Split('\n'))
        {
            Match row = Row().Match(line);
            _ = lines.Append(
                row.Success ? $"{row.Groups["head"].Value} {string.Join(" | ", s_dialects.Select(d => Cell(row.Groups["id"].Value, d, tests)))} |"
                : line).Append('\n');
        }

        return lines.ToString(0, lines.Length - 1);
    }

    /// <summary>The rows of a document.</summary>
    public static IEnumerable<string> Rows(string document) =>
        document.Split('\n').Select(static line => Row().Match(line)).Where(static row => row.Success).Select(static row => row.Groups["id"].Value);

    /// <summary>The row that a trait's value names.</summary>
    public static string RowOf(string value) => value.Split(' ')[0];

    /// <summary>Every trait of the sources below a directory, with its test.</summary>
    public static IReadOnlyList<(string Value, string Test)> Find(string directory)
    {
        var found = new List<(string, string)>();
        foreach (string path in Directory.EnumerateFiles(directory, "*.cs", SearchOption.AllDirectories).Order(StringComparer.Ordinal))
        {
            string type = "";
            var values = new List<string>();
            foreach (string line in File.ReadLines(path))
            {
                if (Trait().Match(line) is { Success: true } trait)
                {
                    values.Add(trait.Groups[1].Value);
                }
                else if (Class().Match(line) is { Success: true } name)
                {
                    type = name.Groups[1].Value;
                }
                else if (values.Count != 0 && Method().Match(line) is { Success: true } method)
                {
                    found.AddRange(values.Select(value => (value, $"{type}.{method.Groups[1].Value}")));
                    values.Clear();
                }
            }
        }

        return found;
    }

    private static string Cell(string id, string dialect, IReadOnlyList<(string Value, string Test)> tests)
    {
        string[] lines = [.. tests.Select(t => (Words: t.Value.Split(' '), t.Test))
            .Where(t => t.Words[0] == id && t.Words.Intersect(s_dialects).DefaultIfEmpty("rfc").Contains(dialect))
            .Select(static t => (t.Words.Contains("refused") ? "refused: " : "") + $"`{t.Test}`").Distinct()];
        return lines.Length == 0 ? "–" : string.Join("<br>", lines);
    }

    [GeneratedRegex("""^(?<head>\| `(?<id>[^`]+)` \|[^|]*\|).*\|.*\|.*\|$""")]
    private static partial Regex Row();

    [GeneratedRegex("""^\s*\[Trait\("rfc", "([^"]+)"\)\]""")]
    private static partial Regex Trait();

    [GeneratedRegex("""\bclass (\w+)""")]
    private static partial Regex Class();

    [GeneratedRegex("""^\s*public (?:\w+ )*\w+ (\w+)\(""")]
    private static partial Regex Method();
}
