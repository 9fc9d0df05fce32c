using System.Reflection;
using CommandLine;
using VfioCli.CommandLine;
using VfioCli.Output;
using VfioCli.Verbs;
using Xunit;

namespace VfioCli.Tests;

public class CommandLineTests
{
    [Theory]
    [InlineData("list")]
    [InlineData("list --json")]
    [InlineData("list --host sim --topology machine.json 0000:01:* *.0")]
    [InlineData("list x --json y")]
    [InlineData("show 0000:00:04.0")]
    [InlineData("show 00:04.0 00:05.0 --json --host kernel")]
    public void The_fast_path_reads_what_the_parser_reads(string line)
    {
        string[] args = line.Split(' ');
        Verb fast = FastPath.TryParse(args) ?? throw new InvalidOperationException("not taken by the fast path");
        Verb slow = VerbParser.Parse(args, new Terminal(TextWriter.Null, TextWriter.Null, false, false), out _)
            ?? throw new InvalidOperationException("refused by the parser");
        Assert.Equal(Describe(slow), Describe(fast));
    }

    [Theory]
    [InlineData("")]
    [InlineData("list --help")]
    [InlineData("list --bogus")]
    [InlineData("list --host")]
    [InlineData("list --json --json")]
    [InlineData("show")]
    [InlineData("show -- x")]
    [InlineData("bind 0000:00:04.0")]
    public void The_fast_path_leaves_the_rest_to_the_parser(string line) =>
        Assert.Null(FastPath.TryParse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)));

    [Theory]
    [InlineData("0", 0UL)]
    [InlineData("4096", 4096UL)]
    [InlineData("0x1000", 4096UL)]
    [InlineData("4K", 4096UL)]
    [InlineData("2M", 2UL << 20)]
    [InlineData("2MiB", 2UL << 20)]
    [InlineData("1g", 1UL << 30)]
    [InlineData("0xffffffffffffffff", ulong.MaxValue)]
    public void Numbers(string text, ulong value)
    {
        Assert.True(NumberText.TryParse(text, out ulong read));
        Assert.Equal(value, read);
    }

    [Theory]
    [InlineData("")]
    [InlineData("-1")]
    [InlineData("4X")]
    [InlineData("K")]
    [InlineData("0x")]
    [InlineData("1.5M")]
    [InlineData("18446744073709551616")]
    [InlineData("16777216T")]
    public void Not_numbers(string text) => Assert.False(NumberText.TryParse(text, out _));

    private static string Describe(Verb verb) => verb.GetType().Name + string.Concat(verb.GetType()
        .GetProperties(BindingFlags.Public | BindingFlags.Instance)
        .Where(static property => property.IsDefined(typeof(BaseAttribute), true))
        .OrderBy(static property => property.Name)
        .Select(property =>
            $" {property.Name}={(property.GetValue(verb) switch
            {
                string text => text, IEnumerable<string> many => string.Join(',', many), object other => other, null => "",
            })}"));
}
