using System.Globalization;
using IommuFd.Native;

namespace IommuFd.Sysfs;

/// <summary>Short forms for attributes: what is absent or unreadable is null, never an exception.</summary>
public static class SysfsReading
{
    /// <summary>An attribute without its trailing newline, or null when it cannot be read.</summary>
    public static string? Attribute(this ISysfs sysfs, string path) => sysfs.ReadText(path, out string text) >= 0 ? text.TrimEnd('\n', '\0') : null;

    /// <summary>An integer attribute, decimal or <c>0x</c>-prefixed, or null when it is absent or not a number.</summary>
    public static long? Number(this ISysfs sysfs, string path) => ParseNumber(sysfs.Attribute(path));

    /// <summary>The last component of what a link points to (<c>driver</c>, <c>iommu_group</c>), or null when there is no link.</summary>
    public static string? LinkName(this ISysfs sysfs, string path) =>
        sysfs.ReadLink(path, out string target) >= 0 ? target[(target.LastIndexOf('/') + 1)..] : null;

    /// <summary>Whether <paramref name="path"/> names anything.</summary>
    public static bool Exists(this ISysfs sysfs, string path) => sysfs.Status(path, out _) >= 0;

    /// <summary>The entries of a directory, empty when there is none.</summary>
    public static string[] Entries(this ISysfs sysfs, string path) => sysfs.List(path, out string[] names) >= 0 ? names : [];

    internal static long? ParseNumber(string? text)
    {
        ReadOnlySpan<char> digits = text.AsSpan().Trim();
        if (digits.StartsWith("0x", StringComparison.OrdinalIgnoreCase))
        {
            return ulong.TryParse(digits[2..], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ulong hex) ? (long)hex : null;
        }

        return long.TryParse(digits, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out long value) ? value : null;
    }
}
