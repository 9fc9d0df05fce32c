using System.Globalization;
using IommuFd.HwSim;
using IommuFd.HwSim.PageTables;
using VfioCli.Output;

namespace VfioCli.PageTables;

/// <summary><c>vfio pt dump</c>: all pages, runs that continue each other joined.</summary>
internal static class PtDump
{
    /// <summary>Prints them.</summary>
    public static ExitCode Run(Terminal terminal, PageTableTool tool, string images, ulong root)
    {
        using MemoryImage image = ImageText.Open(images);
        PageRun[] runs = [.. PageRun.Of(tool.Leaves(image.Memory, root))];
        foreach (PageRun run in runs)
        {
            terminal.Line(run.ToString());
        }

        if (terminal.Json)
        {
            JsonReport.Write(terminal, "vfio.pt.dump/1", writer =>
            {
                writer.WriteString("format", tool.Name);
                writer.WriteHex("root", root);
                writer.WriteStartArray("runs");
                foreach (PageRun run in runs)
                {
                    run.Write(writer);
                }

                writer.WriteEndArray();
            });
        }

        return ExitCode.Ok;
    }
}
