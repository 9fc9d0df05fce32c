using System.Globalization;
using System.Text.Json;
using IommuFd.HwSim;
using IommuFd.HwSim.PageTables;
using VfioCli.Output;

namespace VfioCli.PageTables;

/// <summary><c>vfio pt walk</c>.</summary>
internal static class PtWalk
{
    /// <summary>Walks and explains. Exit status 1 when there is no translation.</summary>
    public static ExitCode Run(Terminal terminal, PageTableTool tool, string images, ulong root, ulong iova, WalkAccess access)
    {
        using MemoryImage image = ImageText.Open(images);
        WalkExplanation walk = tool.Walk(image.Memory, root, iova, access);
        foreach (StepExplanation step in walk.Steps)
        {
            terminal.Line(string.Create(CultureInfo.InvariantCulture,
                $"level {step.Step.Level}  iova[{step.HighBit}:{step.LowBit}] = 0x{step.Step.Index:x}  entry 0x{step.Step.Entry:x} at"
                    + $" 0x{step.Step.EntryAddress:x}"));
            foreach ((string name, string value) in step.Entry.Fields)
            {
                terminal.Line($"         {name} {value}");
            }

            terminal.Line($"      -> {step.Entry.Verdict}");
        }

        terminal.Line(walk.Verdict);
        if (terminal.Json)
        {
            JsonReport.Write(terminal, "vfio.pt.walk/1", writer => Write(writer, tool, root, iova, walk));
        }

        return walk.Result.Ok ? ExitCode.Ok : ExitCode.No;
    }

    /// <summary>An entry in words, as every document has it.</summary>
    internal static void Write(Utf8JsonWriter writer, EntryExplanation entry)
    {
        writer.WriteString("kind", entry.Kind.ToString());
        writer.WriteStartObject("fields");
        foreach ((string name, string value) in entry.Fields)
        {
            writer.WriteString(name, value);
        }

        writer.WriteEndObject();
        writer.WriteString("verdict", entry.Verdict);
    }

    private static void Write(Utf8JsonWriter writer, PageTableTool tool, ulong root, ulong iova, WalkExplanation walk)
    {
        writer.WriteString("format", tool.Name);
        writer.WriteHex("root", root);
        writer.WriteHex("iova", iova);
        writer.WriteStartArray("steps");
        foreach (StepExplanation step in walk.Steps)
        {
            writer.WriteStartObject();
            writer.WriteNumber("level", step.Step.Level);
            writer.WriteNumber("highBit", step.HighBit);
            writer.WriteNumber("lowBit", step.LowBit);
            writer.WriteNumber("index", step.Step.Index);
            writer.WriteHex("entryAddress", step.Step.EntryAddress);
            writer.WriteHex("entry", step.Step.Entry);
            Write(writer, step.Entry);
            writer.WriteEndObject();
        }

        writer.WriteEndArray();
        writer.WriteString("fault", walk.Result.Ok ? null : walk.Result.Fault.ToString());
        writer.WriteString("output", walk.Result.Ok ? $"0x{walk.Result.Output:x}" : null);
        writer.WriteNumberOrNull("pageSizeLg2", walk.Result.Ok ? walk.Result.SizeLg2 : null);
        writer.WriteString("verdict", walk.Verdict);
    }
}
