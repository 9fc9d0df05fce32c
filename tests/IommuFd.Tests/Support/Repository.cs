namespace IommuFd.Tests;

/// <summary>The source tree that the tests were built from; absent where only the binaries are, as in the test VM.</summary>
internal static class Repository
{
    internal static string? Root { get; } = Find();

    /// <summary>Set to 1 to rewrite generated files instead of comparing them.</summary>
    internal static bool Update => Environment.GetEnvironmentVariable("UPDATE_GENERATED") == "1";

    internal static IEnumerable<string> Sources(string folder) =>
        Directory.EnumerateFiles(Path.Combine(Root!, folder), "*.cs", SearchOption.AllDirectories)
            .Where(static path => !path.Contains("/obj/", StringComparison.Ordinal));

    private static string? Find()
    {
        for (DirectoryInfo? at = new(AppContext.BaseDirectory); at is not null; at = at.Parent)
        {
            if (File.Exists(Path.Combine(at.FullName, "IommuFd.sln")))
            {
                return at.FullName;
            }
        }

        return null;
    }
}
