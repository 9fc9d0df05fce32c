using System.Runtime.CompilerServices;
using Xunit;

namespace VfioCli.Tests.PageTables;

/// <summary>Expected output in files of the repository.</summary>
internal static class Golden
{
    public static string Repository { get; } = Root();

    /// <summary>Compares with the file, or writes it when VFIO_WRITE_GOLDEN=1.</summary>
    public static void Check(string file, string text)
    {
        if (Environment.GetEnvironmentVariable("VFIO_WRITE_GOLDEN") == "1")
        {
            File.WriteAllText(file, text);
        }

        Assert.Equal(File.ReadAllText(file), text);
    }

    private static string Root([CallerFilePath] string file = "") => Path.GetFullPath(Path.Combine(Path.GetDirectoryName(file)!, "..", "..", ".."));
}
