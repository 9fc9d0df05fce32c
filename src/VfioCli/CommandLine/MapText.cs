namespace VfioCli.CommandLine;

/// <summary>One mapping as typed: <c>SIZE[@IOVA]</c>.</summary>
/// <param name="Size">Bytes.</param>
/// <param name="Iova">Where, or null to let the kernel choose.</param>
internal readonly record struct MapText(ulong Size, ulong? Iova)
{
    /// <summary>Reads mappings separated by commas: <c>2M@0x100000,4K</c>.</summary>
    /// <exception cref="CommandFailure">A part cannot be read.</exception>
    public static IReadOnlyList<MapText> Parse(string? text) => text is null ? [] : [.. text.Split(',').Select(One)];

    private static MapText One(string text)
    {
        int at = text.IndexOf('@', StringComparison.Ordinal);
        ulong size = NumberText.Parse(at < 0 ? text : text[..at], "the size");
        ulong? iova = at < 0 ? null : NumberText.Parse(text[(at + 1)..], "the IOVA");
        if (size == 0)
        {
            throw new CommandFailure(ExitCode.Usage, "a mapping of 0 bytes is no mapping.", "Give a size such as 4K or 2M.");
        }

        if (iova is { } first && first + (size - 1) < first)
        {
            throw new CommandFailure(ExitCode.Usage, $"{text} wraps around the end of the address space.",
                "The last byte, IOVA + SIZE - 1, must be at most 0xffffffffffffffff.");
        }

        return new MapText(size, iova);
    }
}
