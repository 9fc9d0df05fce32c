using Xunit;

namespace HwSim.Tests.Docs;

/// <summary>docs/rfc-v2.md says what the tests show.</summary>
public sealed class RfcDocumentTests
{
    [Fact]
    public void The_tables_of_the_document_are_those_of_the_tests()
    {
        string root = Root();
        string path = Path.Combine(root, "docs", "rfc-v2.md"), document = File.ReadAllText(path);
        var tests = RfcTable.Find(Path.Combine(root, "tests"));
        string wanted = RfcTable.Fill(document, tests);
        if (Environment.GetEnvironmentVariable("UPDATE_GENERATED") == "1")
        {
            File.WriteAllText(path, wanted);
            return;
        }

        Assert.True(wanted == document, "docs/rfc-v2.md is not what the tests say; make it anew with UPDATE_GENERATED=1 dotnet test "
            + "tests/HwSim.Tests");
    }

    [Fact]
    public void Every_trait_names_a_row_and_every_row_is_there_once()
    {
        string root = Root();
        string[] rows = [.. RfcTable.Rows(File.ReadAllText(Path.Combine(root, "docs", "rfc-v2.md")))];
        Assert.Equal(rows.Distinct(), rows);
        Assert.Empty(RfcTable.Find(Path.Combine(root, "tests")).Select(static t => RfcTable.RowOf(t.Value)).Except(rows));
    }

    [Fact]
    public void Every_row_is_shown_on_the_simulators_own_dialect()
    {
        string root = Root();
        string[] shown = [.. RfcTable.Find(Path.Combine(root, "tests")).Where(static t =>
            !t.Value.Contains(" mainline", StringComparison.Ordinal) && !t.Value.Contains(" legacy", StringComparison.Ordinal))
            .Select(static t => RfcTable.RowOf(t.Value))];
        Assert.Empty(RfcTable.Rows(File.ReadAllText(Path.Combine(root, "docs", "rfc-v2.md"))).Except(shown));
    }

    private static string Root()
    {
        string root = AppContext.BaseDirectory;
        while (root is not "" && !File.Exists(Path.Combine(root, "docs", "rfc-v2.md")))
        {
            root = Path.GetDirectoryName(root) ?? "";
        }

        Assert.SkipWhen(root == "", "the documentation is not where only the binaries are");
        return root;
    }
}
