using System.Globalization;
using System.Text;
using System.Text.Json;
using CommandLine;
using IommuFd.Sysfs;
using VfioCli.Output;

namespace VfioCli.Verbs;

/// <summary><c>vfio topology</c>.</summary>
[Verb("topology", HelpText = "Draw the tree of PCI buses with groups, and which bridge isolates and which does not.")]
internal sealed class TopologyVerb : HostVerb
{
    /// <summary>Graphviz.</summary>
    [Option("dot", HelpText = "Print it for Graphviz.")]
    public bool Dot { get; set; }

    /// <summary>A picture.</summary>
    [Option("svg", HelpText = "Print it as an SVG picture.")]
    public bool Svg { get; set; }

    /// <inheritdoc/>
    public override ExitCode Run(Session session)
    {
        IReadOnlyList<TopologyNode> roots = TopologyTree.Read(session);
        if (Json)
        {
            session.WriteJson("vfio.topology/1", writer => WriteNodes(writer, "functions", roots));
        }
        else if (Dot)
        {
            session.Terminal.Out.Write(ToDot(roots));
        }
        else if (Svg)
        {
            session.Terminal.Out.Write(TopologySvg.Draw(roots));
        }
        else
        {
            StringBuilder text = new();
            WriteTree(text, roots, "");
            session.Terminal.Out.Write(text);
        }

        return ExitCode.Ok;
    }

    /// <summary>A node as one line.</summary>
    internal static string Label(TopologyNode node)
    {
        PciFunction function = node.Function;
        string group = function.Group is { } id ? string.Create(CultureInfo.InvariantCulture, $"group {id}") : "no group";
        return $"{function.Address} {PciClass.Name(function.Class)}, {group},"
            + $" {function.Driver ?? "no driver"}{(node.Acs is null ? "" : $"; {node.Acs}")}";
    }

    private static void WriteTree(StringBuilder text, IReadOnlyList<TopologyNode> nodes, string indent)
    {
        for (int i = 0; i < nodes.Count; i++)
        {
            bool last = i == nodes.Count - 1;
            _ = text.Append(indent).Append(last ? "└─ " : "├─ ").Append(Label(nodes[i])).Append('\n');
            WriteTree(text, nodes[i].Children, indent + (last ? "   " : "│  "));
        }
    }

    private static void WriteNodes(Utf8JsonWriter writer, string name, IReadOnlyList<TopologyNode> nodes)
    {
        writer.WriteStartArray(name);
        foreach (TopologyNode node in nodes)
        {
            writer.WriteStartObject();
            ListVerb.WriteMembers(writer, node.Function);
            writer.WriteString("isolation", node.Acs);
            WriteNodes(writer, "behind", node.Children);
            writer.WriteEndObject();
        }

        writer.WriteEndArray();
    }

    private static string ToDot(IReadOnlyList<TopologyNode> roots)
    {
        StringBuilder text = new("digraph pci {\n  rankdir=LR; node [shape=box, fontname=monospace];\n");
        foreach (IGrouping<int?, TopologyNode> group in Flat(roots).GroupBy(static node => node.Function.Group).OrderBy(static group => group.Key))
        {
            _ = text.Append(CultureInfo.InvariantCulture,
                $"  subgraph \"cluster_{group.Key?.ToString(CultureInfo.InvariantCulture) ?? "none"}\" {{"
                    + $" label=\"{(group.Key is null ? "no group" : $"group {group.Key}")}\";\n");
            foreach (TopologyNode node in group)
            {
                _ = text.Append(CultureInfo.InvariantCulture,
                    $"    \"{node.Function.Address}\" [label=\"{node.Function.Address}\\n"
                        + $"{PciClass.Name(node.Function.Class)}\\n{node.Function.Driver ?? "no driver"}"
                        + $"{(node.Acs is null ? "" : "\\n" + node.Acs)}\"];\n");
            }

            _ = text.Append("  }\n");
        }

        foreach (TopologyNode node in Flat(roots))
        {
            foreach (TopologyNode child in node.Children)
            {
                _ = text.Append(CultureInfo.InvariantCulture, $"  \"{node.Function.Address}\" -> \"{child.Function.Address}\";\n");
            }
        }

        return text.Append("}\n").ToString();
    }

    /// <summary>Every node, parents first.</summary>
    internal static IEnumerable<TopologyNode> Flat(IEnumerable<TopologyNode> nodes) =>
        nodes.SelectMany(static node => (IEnumerable<TopologyNode>)[node, .. Flat(node.Children)]);
}
