namespace VfioCli.Output;

/// <summary>Where a command writes, and how: for a person at a terminal, for a pipe, or for a program (JSON).</summary>
internal sealed class Terminal(TextWriter output, TextWriter error, bool interactive, bool colour)
{
    /// <summary>Results.</summary>
    public TextWriter Out { get; } = output;

    /// <summary>Opens <see cref="Out"/> for bytes.</summary>
    public Func<Stream> OpenBinary { get; init; } = static () => Stream.Null;

    /// <summary>Opens what is piped in; null at a terminal.</summary>
    public Func<TextReader>? Piped { get; init; }

    /// <summary>Remarks and complaints.</summary>
    public TextWriter Error { get; } = error;

    /// <summary>Whether <see cref="Out"/> is a terminal: tables get lines, work over a second shows progress.</summary>
    public bool Interactive { get; } = interactive;

    /// <summary>Whether colours are wanted: a terminal, and NO_COLOR is not set.</summary>
    public bool Colour { get; } = colour;

    /// <summary>Whether results are JSON.</summary>
    public bool Json { get; set; }

    /// <summary>One line of result; nothing in JSON, where the document says it.</summary>
    public void Line(string text = "")
    {
        if (!Json)
        {
            Out.WriteLine(text);
        }
    }

    /// <summary>A word of a check in its colour.</summary>
    public string Paint(string word) => !Colour ? word : word switch
    {
        "PASS" => $"\e[32m{word}\e[0m",
        "FAIL" => $"\e[31m{word}\e[0m",
        "WARN" => $"\e[33m{word}\e[0m",
        _ => $"\e[90m{word}\e[0m",
    };

    /// <summary>One line of remark on stderr, with the command's name in front.</summary>
    public void Remark(string text) => Error.WriteLine("vfio: " + text);

    /// <summary>Writes out what is buffered; a reader that has gone is no error.</summary>
    public void Flush()
    {
        try
        {
            Out.Flush();
        }
        catch (IOException)
        {
        }
    }

    /// <summary>Prints a table; nothing in JSON.</summary>
    public void Print(Table table)
    {
        if (Json)
        {
            return;
        }

        if (Interactive)
        {
            TerminalTable.Write(this, table);
        }
        else
        {
            table.WritePlain(Out);
        }
    }
}
