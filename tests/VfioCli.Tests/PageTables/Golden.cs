using Xunit;

namespace VfioCli.Tests.PageTables;

/// <summary>Expected output in files of the repository.</summary>
internal static class Golden
{
    // The path that the compiler knows is not a path where builds are deterministic.
    public static string Repository { get; } = IommuFd.Tests.Repository.Root
        ?? throw new InvalidOperationException("the tests run outside the source tree");

    /// <summary>Compares with the file, or writes it when UPDATE_GENERATED=1.</summary>
    public static void Check(string file, string text)
    {
        if (IommuFd.Tests.Repository.Update)
        {
            File.WriteAllText(file, text);
        }

        Assert.Equal(File.ReadAllText(file), text);
    }
}
