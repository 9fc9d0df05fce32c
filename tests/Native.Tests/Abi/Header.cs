using System.Text.RegularExpressions;

namespace Native.Tests.Abi;

/// <summary>A plain scan of one header: which structs (with members), enums (with constants) and macros it declares.</summary>
internal sealed partial class Header
{
    private Header(string name)
    {
        Name = name;
        string text = Comment().Replace(File.ReadAllText(Path.Combine(Root, name)), " ").Replace("\\\n", " ", StringComparison.Ordinal);
        Macros = [.. Define().Matches(text).Select(m => m.Groups[1].Value)];
        string code = Directive().Replace(text, "");
        Structs = Block("struct").Matches(code).ToDictionary(m => m.Groups[1].Value, m => Members(m.Groups[2].Value));
        Enums = [.. Regex.Matches(code, @"enum\s+(\w+)\s*\{").Select(m => m.Groups[1].Value)];
        EnumConstants = [.. Regex.Matches(code, @"enum\s*\w*\s*\{([^}]*)\}")
            .SelectMany(m => m.Groups[1].Value.Split(','))
            .Select(c => c.Split('=')[0].Trim())
            .Where(c => c.Length > 0)];
    }

    internal static string Root => Path.Combine(AppContext.BaseDirectory, "uapi");

    internal static Header Iommufd { get; } = new("linux/iommufd.h");

    internal static Header Vfio { get; } = new("linux/vfio.h");

    internal static Header Rfc { get; } = new("rfc/iommu-rfc.h");

    internal static IReadOnlyList<Header> All { get; } = [Iommufd, Vfio, Rfc];

    internal string Name { get; }

    internal IReadOnlyList<string> Macros { get; }

    /// <summary>Per struct its members, those of anonymous and named unions included, the union's own name excluded.</summary>
    internal IReadOnlyDictionary<string, IReadOnlyList<string>> Structs { get; }

    internal IReadOnlyList<string> Enums { get; }

    internal IReadOnlyList<string> EnumConstants { get; }

    private static IReadOnlyList<string> Members(string body)
    {
        string flat = Regex.Replace(body, @"union\s*\{([^}]*)\}\s*\w*\s*;", "$1");
        flat = Regex.Replace(flat, @"__counted_by\(\w+\)", "");
        return [.. flat.Split(';')
            .Where(declaration => declaration.Trim().Length > 0)
            .SelectMany(declaration => declaration.Split(','))
            .Select(part => Regex.Match(part, @"(\w+)\s*(\[[^\]]*\])?\s*$").Groups[1].Value)];
    }

    private static Regex Block(string keyword) => new(keyword + @"\s+(\w+)\s*\{((?:[^{}]|\{[^{}]*\})*)\}");

    [GeneratedRegex(@"/\*.*?\*/", RegexOptions.Singleline)]
    private static partial Regex Comment();

    [GeneratedRegex(@"^[ \t]*#[ \t]*define[ \t]+(\w+)", RegexOptions.Multiline)]
    private static partial Regex Define();

    [GeneratedRegex(@"^[ \t]*#.*$", RegexOptions.Multiline)]
    private static partial Regex Directive();
}
