using System.Globalization;
using IommuFd.HwSim.PageTables;
using VfioCli.CommandLine;
using VfioCli.Output;

namespace VfioCli.PageTables;

/// <summary><c>vfio pt formats</c>.</summary>
internal static class PtFormats
{
    /// <summary>Lists them.</summary>
    public static ExitCode Run(Terminal terminal)
    {
        Table table = new("FORMAT", "LEVELS", "INPUT BITS", "OUTPUT BITS", "SMALLEST PAGE");
        PageTableTool[] tools = [.. PageTableFormats.Names.Select(static name => PageTableFormats.Find(name)!)];
        foreach (PageTableTool tool in tools)
        {
            table.Add(tool.Name, Text(tool.Geometry.TopLevel + 1), Text(tool.Geometry.InputBits), Text(tool.Geometry.OutputBits),
                NumberText.Size(1UL << tool.Geometry.GranuleLg2));
        }

        terminal.Print(table);
        terminal.Line("Arm widths are examples: arm-s1-4k-BITS and so on take any width that the granule allows.");
        if (terminal.Json)
        {
            JsonReport.Write(terminal, "vfio.pt.formats/1", writer =>
            {
                writer.WriteStartArray("formats");
                foreach (PageTableTool tool in tools)
                {
                    writer.WriteStartObject();
                    writer.WriteString("name", tool.Name);
                    writer.WriteNumber("levels", tool.Geometry.TopLevel + 1);
                    writer.WriteNumber("inputBits", tool.Geometry.InputBits);
                    writer.WriteNumber("outputBits", tool.Geometry.OutputBits);
                    writer.WriteNumber("granuleLg2", tool.Geometry.GranuleLg2);
                    writer.WriteEndObject();
                }

                writer.WriteEndArray();
            });
        }

        return ExitCode.Ok;
    }

    private static string Text(int number) => number.ToString(CultureInfo.InvariantCulture);
}
