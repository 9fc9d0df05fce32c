using System.Globalization;

namespace VfioCli.CommandLine;

/// <summary>Numbers as people type them: <c>4096</c>, <c>0x1000</c>, <c>4K</c>, <c>2M</c>, <c>1GiB</c>. The suffixes are powers of 1024.</summary>
internal static class NumberText
{
    /// <summary>Reads an unsigned 64-bit number; <paramref name="what"/> names it in the complaint.</summary>
    public static ulong Parse(string text, string what) => TryParse(text, out ulong value)
        ? value
        : throw new CommandFailure(ExitCode.Usage, $"{what} '{text}' is not a number.",
            "Numbers are decimal or 0x hexadecimal, with K, M, G or T for powers of 1024: 4096, 0x1000, 2M.");

    /// <summary>Reads an unsigned 64-bit number.</summary>
    public static bool TryParse(ReadOnlySpan<char> text, out ulong value)
    {
        value = 0;
        if (text.StartsWith("0x", StringComparison.OrdinalIgnoreCase))
        {
            return ulong.TryParse(text[2..], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out value);
        }

        if (text.EndsWith("iB", StringComparison.Ordinal) && text.Length > 2 && !char.IsDigit(text[^3]))
        {
            text = text[..^2];
        }

        int shift = text.IsEmpty ? 0 : char.ToUpperInvariant(text[^1]) switch { 'K' => 10, 'M' => 20, 'G' => 30, 'T' => 40, _ => 0 };
        if (shift != 0)
        {
            text = text[..^1];
        }

        if (!ulong.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out value) || value > ulong.MaxValue >> shift)
        {
            return false;
        }

        value <<= shift;
        return true;
    }

    /// <summary>A size in the largest unit that divides it: <c>2 MiB</c>.</summary>
    public static string Size(ulong bytes)
    {
        string[] units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
        int unit = 0;
        while (unit < units.Length - 1 && bytes >= 1024 && bytes % 1024 == 0)
        {
            bytes /= 1024;
            unit++;
        }

        return string.Create(CultureInfo.InvariantCulture, $"{bytes} {units[unit]}");
    }
}
