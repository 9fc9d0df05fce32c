using Xunit;

namespace IommuFd.Tests;

/// <summary>What no compiler checks of the sources.</summary>
public sealed class StyleTests
{
    // As max_line_length in .editorconfig.
    private const int LongestLine = 150;

    [Theory]
    [InlineData("src")]
    [InlineData("hwsim")]
    public void No_line_is_longer_than_max_line_length(string folder)
    {
        Assert.SkipWhen(Repository.Root is null, "the sources are not where only the binaries are");
        Assert.Empty(Repository.Sources(folder).SelectMany(static file => File.ReadLines(file)
            .Select((line, index) => (line.Length, Place: $"{Path.GetRelativePath(Repository.Root!, file)}:{index + 1}"))
            .Where(static line => line.Length > LongestLine)
            .Select(static line => $"{line.Place}: {line.Length} characters")));
    }
}
