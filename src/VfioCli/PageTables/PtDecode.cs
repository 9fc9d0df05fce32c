using System.Globalization;
using IommuFd.HwSim.PageTables;
using VfioCli.CommandLine;
using VfioCli.Output;

namespace VfioCli.PageTables;

/// <summary><c>vfio pt decode</c>: entries in words.</summary>
internal static class PtDecode
{
    /// <summary>Explains each entry at one level, or at every level at which it means something different.</summary>
    public static ExitCode Run(Terminal terminal, PageTableTool tool, string[] entries, int? level)
    {
        if (level is { } wanted && (wanted < 0 || wanted > tool.Geometry.TopLevel))
        {
            throw new CommandFailure(ExitCode.Usage, $"{tool.Name} has no level {wanted}.", $"Its levels are 0 to {tool.Geometry.TopLevel}.");
        }

        List<(ulong Entry, int Level, EntryExplanation Text)> all = [];
        foreach (string text in entries)
        {
            ulong entry = NumberText.Parse(text, "the entry");
            if (tool.EntryBytes == 4 && entry > uint.MaxValue)
            {
                throw new CommandFailure(ExitCode.Usage, $"0x{entry:x} has more than 32 bits.", $"Entries of {tool.Name} have 4 bytes.");
            }

            for (int at = level ?? tool.Geometry.TopLevel; at >= (level ?? 0); at--)
            {
                all.Add((entry, at, tool.Decode(at, entry)));
            }
        }

        foreach ((ulong entry, int at, EntryExplanation text) in all)
        {
            string fields = string.Join(", ", text.Fields.Select(static field => $"{field.Name} {field.Value}"));
            terminal.Line(string.Create(CultureInfo.InvariantCulture,
                $"0x{entry:x} at level {at}: {text.Kind.ToString().ToLowerInvariant()}{(fields.Length == 0 ? "" : ", " + fields)}"));
            terminal.Line($"      -> {text.Verdict}");
        }

        if (terminal.Json)
        {
            JsonReport.Write(terminal, "vfio.pt.decode/1", writer =>
            {
                writer.WriteString("format", tool.Name);
                writer.WriteStartArray("entries");
                foreach ((ulong entry, int at, EntryExplanation text) in all)
                {
                    writer.WriteStartObject();
                    writer.WriteHex("entry", entry);
                    writer.WriteNumber("level", at);
                    PtWalk.Write(writer, text);
                    writer.WriteEndObject();
                }

                writer.WriteEndArray();
            });
        }

        return ExitCode.Ok;
    }
}
