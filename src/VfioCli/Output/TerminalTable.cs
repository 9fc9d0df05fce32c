using Spectre.Console;

namespace VfioCli.Output;

/// <summary>Tables for a person at a terminal. The only place that touches Spectre.Console, so that a pipe does not pay for loading it.</summary>
internal static class TerminalTable
{
    /// <summary>Prints a table.</summary>
    public static void Write(Terminal terminal, Table table)
    {
        IAnsiConsole console = AnsiConsole.Create(new AnsiConsoleSettings
        {
            Ansi = terminal.Colour ? AnsiSupport.Yes : AnsiSupport.No,
            ColorSystem = terminal.Colour ? ColorSystemSupport.Standard : ColorSystemSupport.NoColors,
            Interactive = InteractionSupport.No,
            Out = new AnsiConsoleOutput(terminal.Out),
        });

        // A narrow terminal wraps the lines itself: columns of half a word are worse.
        console.Profile.Width = 1000;
        Spectre.Console.Table drawn = new() { Border = TableBorder.Simple };
        foreach (string heading in table.Headings)
        {
            _ = drawn.AddColumn(new TableColumn(new Text(heading, new Style(decoration: Decoration.Bold))).NoWrap());
        }

        foreach (string?[] row in table.Rows)
        {
            _ = drawn.AddRow(row.Select(static cell => new Text(cell ?? "-", StyleOf(cell))).ToArray());
        }

        console.Write(drawn);
    }

    private static Style StyleOf(string? cell) => cell switch
    {
        null => new Style(Color.Grey),
        "PASS" or "yes" or "can be attached" => new Style(Color.Green),
        "FAIL" or "no" or "blocks" => new Style(Color.Red),
        "WARN" or "SKIP" => new Style(Color.Yellow),
        _ when cell.Contains("vfio", StringComparison.Ordinal) => new Style(Color.Aqua),
        _ => Style.Plain,
    };
}
