using System.Text;

namespace VfioCli.Output;

/// <summary>Rows under headings. A null cell is "none" and prints as a dash.</summary>
internal sealed class Table(params string[] headings)
{
    /// <summary>The headings.</summary>
    public IReadOnlyList<string> Headings { get; } = headings;

    /// <summary>The rows, each as long as the headings.</summary>
    public List<string?[]> Rows { get; } = [];

    /// <summary>Adds a row.</summary>
    public void Add(params string?[] cells) => Rows.Add(cells);

    /// <summary>Columns two blanks apart, nothing else: what a pipe wants.</summary>
    public void WritePlain(TextWriter output)
    {
        int[] widths = [.. Headings.Select(static heading => heading.Length)];
        foreach (string?[] row in Rows)
        {
            for (int i = 0; i < widths.Length; i++)
            {
                widths[i] = Math.Max(widths[i], row[i]?.Length ?? 1);
            }
        }

        StringBuilder text = new();
        WriteRow(text, widths, Headings);
        foreach (string?[] row in Rows)
        {
            WriteRow(text, widths, row);
        }

        output.Write(text);
    }

    private static void WriteRow(StringBuilder text, int[] widths, IReadOnlyList<string?> cells)
    {
        for (int i = 0; i < widths.Length; i++)
        {
            string cell = cells[i] ?? "-";
            _ = text.Append(cell);
            if (i < widths.Length - 1)
            {
                _ = text.Append(' ', widths[i] - cell.Length + 2);
            }
        }

        while (text.Length > 0 && text[^1] == ' ')
        {
            text.Length--;
        }

        _ = text.Append('\n');
    }
}
