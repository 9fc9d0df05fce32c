using System.Globalization;
using System.Net;
using System.Text;
using VfioCli.Output;

namespace VfioCli.Verbs;

/// <summary>The tree of buses as a picture: one row a function, indented by bus, coloured by group.</summary>
internal static class TopologySvg
{
    private const int Row = 44, Indent = 48, Width = 460, Height = 34, Margin = 16;

    /// <summary>Draws it.</summary>
    public static string Draw(IReadOnlyList<TopologyNode> roots)
    {
        StringBuilder body = new();
        int row = 0, depth = 0;
        foreach (TopologyNode root in roots)
        {
            Node(body, root, 0, ref row, ref depth);
        }

        int width = (Margin * 2) + Width + (depth * Indent), height = (Margin * 2) + (row * Row);
        return string.Create(CultureInfo.InvariantCulture,
            $"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"monospace\" font-size=\"12\">\n<rect"
                + $" width=\"100%\" height=\"100%\" fill=\"white\"/>\n{body}</svg>\n");
    }

    private static void Node(StringBuilder body, TopologyNode node, int level, ref int row, ref int deepest)
    {
        deepest = Math.Max(deepest, level);
        int x = Margin + (level * Indent), y = Margin + (row * Row), mine = row++;
        int hue = node.Function.Group is { } group ? group * 47 % 360 : 0;
        string fill = node.Function.Group is null ? "#eeeeee" : string.Create(CultureInfo.InvariantCulture, $"hsl({hue},70%,88%)");
        string groupText = node.Function.Group is { } id ? string.Create(CultureInfo.InvariantCulture, $"group {id}") : "no group";
        _ = body.Append(CultureInfo.InvariantCulture,
            $"<rect x=\"{x}\" y=\"{y}\" width=\"{Width}\" height=\"{Height}\" rx=\"4\" fill=\"{fill}\" stroke=\"#555\"/>\n");
        Text(body, x + 8, y + 14,
            $"{node.Function.Address}  {PciClass.Name(node.Function.Class)}  {groupText}  {node.Function.Driver ?? "no driver"}");
        Text(body, x + 8, y + 28, node.Acs ?? $"{node.Function.Vendor:x4}:{node.Function.Device:x4}");
        foreach (TopologyNode child in node.Children)
        {
            int from = Margin + (mine * Row) + Height, to = Margin + (row * Row) + (Height / 2);
            _ = body.Append(CultureInfo.InvariantCulture, $"<path d=\"M{x + 16} {from}V{to}H{x + Indent}\" fill=\"none\" stroke=\"#555\"/>\n");
            Node(body, child, level + 1, ref row, ref deepest);
        }
    }

    private static void Text(StringBuilder body, int x, int y, string text) =>
        body.Append(CultureInfo.InvariantCulture, $"<text x=\"{x}\" y=\"{y}\">{WebUtility.HtmlEncode(text)}</text>\n");
}
