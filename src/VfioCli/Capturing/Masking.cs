using System.Buffers.Binary;
using System.Text;
using System.Text.RegularExpressions;

namespace VfioCli.Capturing;

/// <summary>Blanks what identifies a machine or its people, and leaves what a diagnosis needs.</summary>
internal static partial class Masking
{
    /// <summary>The masked content of a file.</summary>
    public static byte[] Apply(string path, byte[] bytes)
    {
        string name = path[(path.LastIndexOf('/') + 1)..];
        if (name == "config")
        {
            return SerialNumber([.. bytes]);
        }

        string text = Encoding.UTF8.GetString(bytes);
        string masked = (path, name) switch
        {
            ("/proc/cmdline", _) => CommandLine(text),
            ("/proc/self/mountinfo", _) => Home().Replace(text, "$1xxx"),
            ("/etc/passwd" or "/etc/group", _) => SystemAccountsOnly(text),
            (_, "address") when Mac().IsMatch(text) => Mac().Replace(text, "00:00:00:00:00:00"),
            _ => text,
        };
        return ReferenceEquals(masked, text) ? bytes : Encoding.UTF8.GetBytes(masked);
    }

    // The Device Serial Number capability (PCI Express Base Specification 7.9.3): two doublewords behind the header.
    private static byte[] SerialNumber(byte[] config)
    {
        for (int at = 0x100, left = 64; at >= 0x100 && at + 12 <= config.Length && left > 0; left--)
        {
            uint header = BinaryPrimitives.ReadUInt32LittleEndian(config.AsSpan(at));
            if ((ushort)header == 0x03)
            {
                config.AsSpan(at + 4, 8).Clear();
            }

            at = (int)(header >> 20) & ~3;
        }

        return config;
    }

    private static string CommandLine(string text) => string.Join(' ', text.TrimEnd('\n').Split(' ').Select(static word =>
        Relevant().IsMatch(word)
            ? word
            : word.Contains('=', StringComparison.Ordinal) ? word[..(word.IndexOf('=', StringComparison.Ordinal) + 1)] + "xxx"
            : word)) + "\n";

    private static string SystemAccountsOnly(string text) => string.Join('\n', text.Split('\n').Where(static line =>
        line.Split(':') is { Length: > 2 } fields && (!uint.TryParse(fields[2], out uint id) || id < 1000 || id > 60000))) + "\n";

    [GeneratedRegex("iommu|vfio|pci|smmu|efi|video|hugepages|swiotlb|amd|intel|module_blacklist|modprobe",
        RegexOptions.CultureInvariant | RegexOptions.IgnoreCase)]
    private static partial Regex Relevant();

    [GeneratedRegex("(/home/|/run/user/|/media/)[^/ ]+", RegexOptions.CultureInvariant)]
    private static partial Regex Home();

    [GeneratedRegex("([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}", RegexOptions.CultureInvariant)]
    private static partial Regex Mac();
}
