using System.Globalization;
using IommuFd.HwSim;
using IommuFd.HwSim.PageTables;
using IommuFd.Native;
using VfioCli.CommandLine;
using VfioCli.Output;

namespace VfioCli.PageTables;

/// <summary><c>vfio pt map</c>: builds tables and writes them to a file.</summary>
internal static class PtMap
{
    private const ulong ArenaSize = 1UL << 30;

    /// <summary>Builds and writes.</summary>
    public static ExitCode Run(Terminal terminal, PageTableTool tool, string file, ulong at, string maps)
    {
        if (at % (2 << 20) != 0 || at >= 1UL << 46)
        {
            throw new CommandFailure(ExitCode.Usage, $"tables cannot be placed at 0x{at:x}.", "--at takes a multiple of 2M below 0x400000000000.");
        }

        ulong arena = at == 0 ? 0x20_0000 : at;
        using PhysicalMemory memory =
            new(new PhysicalMemoryOptions { AddressBits = 56, ArenaBase = arena, ArenaSize = ArenaSize, PinnedBase = 1UL << 55 });
        using IPageTableBuilder table = tool.Build(memory);
        foreach (string text in maps.Split(','))
        {
            Map(table, tool, text);
        }

        byte[] bytes = Bytes(memory);
        try
        {
            File.WriteAllBytes(file, bytes);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new CommandFailure(ExitCode.Permission, $"'{file}' cannot be written: {exception.Message}",
                "Name a file in a folder that exists and can be written.");
        }

        terminal.Line($"{file}: {NumberText.Size((ulong)bytes.Length)} of tables for physical address 0x{arena:x}, root at 0x{table.Root:x}");
        terminal.Line($"      -> vfio pt walk --format {tool.Name} --image {file}@0x{arena:x} --root 0x{table.Root:x} --iova ADDR");
        if (terminal.Json)
        {
            ulong root = table.Root;
            JsonReport.Write(terminal, "vfio.pt.map/1", writer =>
            {
                writer.WriteString("format", tool.Name);
                writer.WriteString("image", file);
                writer.WriteHex("address", arena);
                writer.WriteNumber("bytes", bytes.Length);
                writer.WriteHex("root", root);
            });
        }

        return ExitCode.Ok;
    }

    private static void Map(IPageTableBuilder table, PageTableTool tool, string text)
    {
        int equals = text.IndexOf('=', StringComparison.Ordinal), plus = text.IndexOf('+', StringComparison.Ordinal), colon = text.LastIndexOf(':');
        if (equals < 0 || plus < equals)
        {
            throw new CommandFailure(ExitCode.Usage, $"'{text}' is not a mapping.",
                "Write it as IOVA=PA+SIZE or IOVA=PA+SIZE:rw, for example 0x10000=0x80000000+2M:rw.");
        }

        ulong iova = NumberText.Parse(text[..equals], "the IOVA"), output = NumberText.Parse(text[(equals + 1)..plus], "the physical address");
        ulong size = NumberText.Parse(colon < 0 ? text[(plus + 1)..] : text[(plus + 1)..colon], "the size");
        int result = table.Map(iova, output, size, Accesses.Page(colon < 0 ? "rw" : text[(colon + 1)..]));
        if (result == 0)
        {
            return;
        }

        string cause = -result switch
        {
            Errno.EADDRINUSE => "a part of it is mapped already",
            Errno.ERANGE => $"an address is too wide for {tool.Name}",
            Errno.ENOMEM => "the tables do not fit in 1 GiB",
            _ => $"addresses and size must be multiples of {NumberText.Size(1UL << tool.Geometry.GranuleLg2)}, and {tool.Name} must be able to"
                + " express the access",
        };
        throw new CommandFailure(ExitCode.Usage, $"{text} cannot be mapped: {cause}.", "Nothing was written.") { Errno = -result };
    }

    // SAFETY: the arena holds all that was handed out of it.
    private static unsafe byte[] Bytes(PhysicalMemory memory)
    {
        byte[] bytes = new byte[memory.HighWaterBytes];
        fixed (byte* to = bytes)
        {
            _ = memory.CopyOut(memory.Options.ArenaBase, to, memory.HighWaterBytes);
        }

        return bytes;
    }
}
