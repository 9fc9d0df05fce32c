using System.Globalization;
using System.Text.Json;
using IommuFd.HwSim.PageTables;
using VfioCli.CommandLine;
using VfioCli.Output;

namespace VfioCli.PageTables;

/// <summary>Pages of one size and kind that continue each other on both sides.</summary>
/// <param name="First">The first page.</param>
/// <param name="Pages">How many.</param>
internal readonly record struct PageRun(PageTableLeaf First, ulong Pages)
{
    /// <summary>Joins pages in the order of their addresses.</summary>
    public static IEnumerable<PageRun> Of(IEnumerable<PageTableLeaf> leaves)
    {
        PageRun? run = null;
        foreach (PageTableLeaf leaf in leaves)
        {
            if (run is { } r && r.Continues(leaf))
            {
                run = r with { Pages = r.Pages + 1 };
                continue;
            }

            if (run is { } done)
            {
                yield return done;
            }

            run = new PageRun(leaf, 1);
        }

        if (run is { } last)
        {
            yield return last;
        }
    }

    /// <inheritdoc/>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture,
        $"0x{First.Address:x}-0x{Last:x} -> 0x{First.Output:x}  {Pages} x {NumberText.Size(1UL << First.SizeLg2)}  {Words}");

    /// <summary>As JSON.</summary>
    public void Write(Utf8JsonWriter writer)
    {
        writer.WriteStartObject();
        writer.WriteHex("first", First.Address);
        writer.WriteHex("last", Last);
        writer.WriteHex("output", First.Output);
        writer.WriteNumber("pageSizeLg2", First.SizeLg2);
        writer.WriteNumber("pages", Pages);
        writer.WriteString("attributes", Words);
        writer.WriteEndObject();
    }

    private ulong Last => First.Address + (Pages << First.SizeLg2) - 1;

    private string Words => First.Attributes.ToString().Replace(",", "", StringComparison.Ordinal).ToLowerInvariant();

    private bool Continues(PageTableLeaf leaf) => leaf.SizeLg2 == First.SizeLg2 && leaf.Attributes == First.Attributes
        && leaf.Address == First.Address + (Pages << First.SizeLg2) && leaf.Output == First.Output + (Pages << First.SizeLg2);
}
