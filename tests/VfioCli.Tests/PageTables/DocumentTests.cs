using IommuFd;
using VfioCli.Hosts;
using VfioCli.Output;
using Xunit;

namespace VfioCli.Tests.PageTables;

/// <summary>The examples of docs/page-tables.md are run; what they print is what the document says. UPDATE_GENERATED=1 writes it anew.</summary>
public sealed class DocumentTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("vfio-pt-").FullName;

    public void Dispose() => Directory.Delete(_folder, true);

    [Fact]
    public void The_examples_print_what_the_document_says()
    {
        string document = Path.Combine(Golden.Repository, "docs", "page-tables.md");
        string written = File.ReadAllText(document);
        List<string> lines = [], input = [];
        bool inBlock = false;
        string? command = null;
        foreach (string line in written.Split('\n'))
        {
            if (command is not null && (line == "```" || line.StartsWith("$ ", StringComparison.Ordinal)))
            {
                lines.AddRange(Run(command, input));
                command = null;
                input.Clear();
            }

            if (line == "```console" || line == "```")
            {
                inBlock = line != "```";
                lines.Add(line);
            }
            else if (inBlock && line.StartsWith("$ vfio ", StringComparison.Ordinal))
            {
                command = line[7..];
                lines.Add(line);
            }
            else if (inBlock && line.StartsWith("< ", StringComparison.Ordinal))
            {
                input.Add(line[2..]);
                lines.Add(line);
            }
            else if (!inBlock)
            {
                lines.Add(line);
            }
        }

        Golden.Check(document, string.Join('\n', lines));
    }

    private string[] Run(string command, List<string> input)
    {
        using StringWriter output = new() { NewLine = "\n" };
        string[] words = [.. command.Split(' ').Select(word => word.Replace("tables.bin", _folder + "/tables.bin", StringComparison.Ordinal)
            .Replace("later.bin", _folder + "/later.bin", StringComparison.Ordinal))];
        Terminal terminal = new(output, output, interactive: false, colour: false) { Piped = () => new StringReader(string.Join('\n', input)) };
        _ = Program.Run(words, terminal, static (_, _) => throw new InvalidOperationException("pt needs no host"));
        return output.ToString().Replace(_folder + "/", "", StringComparison.Ordinal).TrimEnd('\n').Split('\n');
    }
}
