using System.Text.Json;
using VfioCli.Tests.Support;
using Xunit;

namespace VfioCli.Tests;

public class ListTests
{
    [Fact]
    public void List_shows_every_function_in_the_order_of_addresses() =>
        Vfio.Run(TestMachine.Standard(), "list").Exits(ExitCode.Ok).Says("""
            ADDRESS       ID         CLASS         DRIVER    GROUP  NODE  NUMA
            0000:00:00.0  8086:29c0  Host bridge   -         0      -     0
            0000:00:04.0  1234:11e8  Unclassified  -         1      -     0
            0000:00:05.0  144d:a808  NVMe storage  nvme      2      -     0
            0000:00:06.0  1b36:000c  PCI bridge    pcieport  3      -     0
            0000:00:07.0  1b36:000e  PCI bridge    -         5      -     0
            0000:01:00.0  8086:10c9  Ethernet      igb       4      -     0
            0000:02:01.0  1234:11e8  Unclassified  -         5      -     0
            0000:02:02.0  1234:11e8  Unclassified  -         5      -     0

            """);

    [Theory]
    [InlineData("--class=nvme", "0000:00:05.0")]
    [InlineData("--class=0200", "0000:01:00.0")]
    [InlineData("--driver=none 0000:00:0[4]*", "")]
    [InlineData("--driver=igb", "0000:01:00.0")]
    [InlineData("--group=5", "0000:00:07.0 0000:02:01.0 0000:02:02.0")]
    [InlineData("--vendor=1234:11e8 02:*", "0000:02:01.0 0000:02:02.0")]
    public void Filters_keep_what_matches(string options, string addresses)
    {
        JsonElement functions = Vfio.Run(TestMachine.Standard(), ["list", "--json", .. options.Split(' ')]).Exits(ExitCode.Ok).Json()
            .GetProperty("functions");
        Assert.Equal(addresses, string.Join(' ', functions.EnumerateArray().Select(static function => function.GetProperty("address").GetString())));
    }

    [Fact]
    public void Json_names_schema_and_host()
    {
        JsonElement root = Vfio.Run(TestMachine.Standard(), "list", "--json").Json();
        Assert.Equal("vfio.list/1", root.GetProperty("schema").GetString());
        Assert.Equal("simulator", root.GetProperty("host").GetProperty("kind").GetString());
        Assert.False(root.GetProperty("host").GetProperty("fallback").GetBoolean());
        Assert.Equal(JsonValueKind.Null, root.GetProperty("functions")[0].GetProperty("driver").ValueKind);
    }
}
