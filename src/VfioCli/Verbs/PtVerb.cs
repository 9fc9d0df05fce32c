using CommandLine;
using CommandLine.Text;
using IommuFd.HwSim.PageTables;
using VfioCli.CommandLine;
using VfioCli.Output;
using VfioCli.PageTables;

namespace VfioCli.Verbs;

/// <summary><c>vfio pt</c>: page tables of every IOMMU in a memory image.</summary>
[Verb("pt", HelpText = "Page tables in memory dumps: pt walk, pt dump, pt map, pt diff, pt decode, pt formats, pt serve.")]
internal sealed class PtVerb : StandaloneVerb
{
    /// <summary>Examples for the help.</summary>
    [Usage(ApplicationAlias = "vfio")]
    public static IEnumerable<Example> Examples =>
    [
        Example("Walk to an address, step by step", new PtVerb { Words = ["walk"], Format = "vtd-ss-48", Root = "0x200000",
            Image = "tables.bin@0x200000", Iova = "0x7f0000001234", Access = "w" }),
        Example("Build tables", new PtVerb { Words = ["map"], Format = "riscv-sv39x4", Image = "tables.bin", Map = "0x40000000=0x80000000+2M:rw" }),
        Example("Compare two dumps",
            new PtVerb { Words = ["diff", "before.bin@0x200000", "after.bin@0x200000"], Format = "x86-64-48", Root = "0x200000" }),
        Example("Explain an entry", new PtVerb { Words = ["decode", "0x80000001"], Format = "amd-v1-4" }),
    ];

    /// <summary>What to do, and with what.</summary>
    [Value(0, MetaName = "walk|dump|map|diff|decode|formats|serve", Required = true,
        HelpText = "walk, dump, map: see the options; diff A B; decode ENTRY...; formats; serve: one JSON request a line.")]
    public IEnumerable<string> Words { get; set; } = [];

    /// <summary>Which format.</summary>
    [Option("format", MetaValue = "NAME", HelpText = "The format and its width; `vfio pt formats` lists them.")]
    public string? Format { get; set; }

    /// <summary>Physical address of the root table.</summary>
    [Option("root", MetaValue = "ADDR", HelpText = "Physical address of the root table; for diff also ADDR,ADDR.")]
    public string? Root { get; set; }

    /// <summary>The memory image.</summary>
    [Option("image", MetaValue = "FILE[@ADDR]",
        HelpText = "Memory dump and the physical address of its first byte (0); several separated by commas. For map: the file to write.")]
    public string? Image { get; set; }

    /// <summary>The address to walk to.</summary>
    [Option("iova", MetaValue = "ADDR", HelpText = "The address to translate.")]
    public string? Iova { get; set; }

    /// <summary>What the walk is for.</summary>
    [Option("access", MetaValue = "rwx", HelpText = "What the request does: any of r, w, x, and p for privileged; - only looks. Default: r.")]
    public string Access { get; set; } = "r";

    /// <summary>What to map.</summary>
    [Option("map", MetaValue = "IOVA=PA+SIZE[:rwx]", HelpText = "What to map, separated by commas; rw when nothing is said.")]
    public string? Map { get; set; }

    /// <summary>Where new tables are placed.</summary>
    [Option("at", MetaValue = "ADDR", HelpText = "For map: physical address of the tables, a multiple of 2M. Default: 0x200000.")]
    public string At { get; set; } = "0x200000";

    /// <summary>Level of the entries to decode.</summary>
    [Option("level", MetaValue = "N",
        HelpText = "For decode: level of the table that holds the entries, 0 holds the smallest pages. Default: every level.")]
    public int? Level { get; set; }

    /// <summary>Physical address width.</summary>
    [Option("pa-bits", MetaValue = "N", HelpText = "Width of a physical address; wider ones in entries are faults. Default: the format's widest.")]
    public int PaBits { get; set; }

    /// <inheritdoc/>
    public override ExitCode Run(Terminal terminal) => Words.ToArray() switch
    {
        ["walk"] => PtWalk.Run(terminal, Tool(), Images(), Address(Root, "--root"), Address(Iova, "--iova"), Accesses.Walk(Access)),
        ["dump"] => PtDump.Run(terminal, Tool(), Images(), Address(Root, "--root")),
        ["map"] => PtMap.Run(terminal, Tool(), Image ?? throw Missing("--image"), NumberText.Parse(At, "the address"), Map ?? throw Missing("--map")),
        ["diff", var a, var b] => PtDiff.Run(terminal, Tool(), a, b, Root ?? throw Missing("--root")),
        ["decode", _, ..] entries => PtDecode.Run(terminal, Tool(), entries[1..], Level),
        ["formats"] => PtFormats.Run(terminal),
        ["serve"] => PtServe.Run(terminal),
        _ => throw new CommandFailure(ExitCode.Usage, $"`vfio pt {string.Join(' ', Words)}` is not complete or not known.",
            "It is pt walk, pt dump, pt map, pt diff A B, pt decode ENTRY..., pt formats, or pt serve."),
    };

    private PageTableTool Tool() => PageTableFormats.Find(Format ?? throw Missing("--format"), PaBits)
        ?? throw new CommandFailure(ExitCode.Usage,
            $"there is no page-table format '{Format}'{(PaBits == 0 ? "" : $" with {PaBits}-bit physical addresses")}.",
            "`vfio pt formats` lists them.");

    private string Images() => Image ?? throw Missing("--image");

    private static ulong Address(string? text, string option) => NumberText.Parse(text ?? throw Missing(option), option);

    private static CommandFailure Missing(string option) => new(ExitCode.Usage, $"this needs {option}.", "`vfio pt --help` shows the usage.");
}
