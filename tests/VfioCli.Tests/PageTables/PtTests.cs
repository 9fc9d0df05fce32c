using System.Buffers;
using System.Diagnostics;
using System.Text;
using System.Text.Json;
using IommuFd.HwSim.LineProtocol;
using IommuFd.HwSim.PageTables;
using VfioCli.Output;
using VfioCli.Tests.Support;
using Xunit;

namespace VfioCli.Tests.PageTables;

public sealed class PtTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("vfio-pt-").FullName;

    public void Dispose() => Directory.Delete(_folder, true);

    [Fact]
    public void A_walk_of_every_format_prints_what_it_did()
    {
        StringBuilder all = new();
        foreach (string name in PageTableFormats.Names)
        {
            ulong page = 1UL << PageTableFormats.Find(name)!.Geometry.GranuleLg2;
            // The last page that all of a narrow format's address bits reach, and one access that is refused.
            string iova = name switch { "amd-v1-1" => "0x1f0000", "amd-v1-2" => "0x3f010000", _ => "0xc0010000" };
            string image = $"{_folder}/{name}.bin";
            Assert.Equal(0, Run(out _, "pt", "map", "--format", name, "--image", image, "--map", $"{iova}=0x80030000+{page}:r"));
            Assert.Equal(
                0, Run(out string read, "pt", "walk", "--format", name, "--image", image + "@0x200000", "--root", "0x200000", "--iova", iova));
            Assert.Equal(1, Run(out string write, "pt", "walk", "--format", name, "--image", image + "@0x200000", "--root", "0x200000", "--iova",
                iova, "--access", "w"));
            all.Append("== ").Append(name).Append('\n').Append(read).Append(write.TrimEnd('\n').Split('\n')[^1]).Append('\n');
        }

        Golden.Check(Path.Combine(Golden.Repository, "tests", "VfioCli.Tests", "PageTables", "walks.txt"), all.ToString());
    }

    [Theory]
    [InlineData("pt", "this needs", "pt", "walk", "--format", "vtd-ss-48")]
    [InlineData("pt", "there is no page-table format 'vtd'", "pt", "walk", "--format", "vtd")]
    [InlineData("pt", "is not complete or not known", "pt", "fly")]
    [InlineData("pt", "there is no file", "pt", "walk", "--format", "vtd-ss-48", "--image", "absent", "--root", "0", "--iova", "0")]
    [InlineData("pt", "is not an access", "pt", "walk", "--format", "vtd-ss-48", "--image", "absent", "--root", "0", "--iova", "0", "--access", "q")]
    [InlineData("pt", "has no level 9", "pt", "decode", "--format", "vtd-ss-48", "--level", "9", "1")]
    [InlineData("pt", "is not a mapping", "pt", "map", "--format", "vtd-ss-48", "--image", "x", "--map", "1+2")]
    [InlineData("pt", "cannot be mapped", "pt", "map", "--format", "vtd-ss-48", "--image", "x", "--map", "0x1=0x2+4K")]
    public void Bad_input_is_one_sentence(string verb, string says, params string[] args)
    {
        Assert.NotEqual(0, Run(out string text, args));
        Assert.Contains(says, text, StringComparison.Ordinal);
        Assert.Single(text.TrimEnd('\n').Split('\n'));
        Assert.Equal("pt", verb);
    }

    [Theory]
    [InlineData("map", "--map 0x1000=0x2000+4K --image IMAGE")]
    [InlineData("walk", "--root 0x200000 --iova 0x1000 --image IMAGE@0x200000")]
    [InlineData("walk", "--root 0x200000 --iova 0x9000 --image IMAGE@0x200000")]
    [InlineData("dump", "--root 0x200000 --image IMAGE@0x200000")]
    [InlineData("diff", "IMAGE@0x200000 IMAGE --root 0x200000,0")]
    [InlineData("decode", "0x1003 0")]
    [InlineData("formats", "")]
    public void Documents_are_as_described(string what, string rest)
    {
        string image = _folder + "/image";
        Assert.Equal(0, Run(out _, "pt", "map", "--format", "vtd-ss-48", "--map", "0x1000=0x2000+4K", "--image", image));
        string[] words = [.. rest.Replace("IMAGE", image, StringComparison.Ordinal).Split(' ', StringSplitOptions.RemoveEmptyEntries)];
        Run(out string text, ["pt", what, "--json", "--format", "vtd-ss-48", .. words]);
        using JsonDocument schema = JsonDocument.Parse(File.ReadAllText(Path.Combine(Golden.Repository, "docs", "schema", $"pt.{what}.json")));
        using JsonDocument document = JsonDocument.Parse(text);
        Assert.Empty(JsonSchema.Violations(schema.RootElement, document.RootElement));
    }

    [Fact]
    public void A_walk_through_noise_ends()
    {
        byte[] noise = new byte[1 << 16];
        new Random(5).NextBytes(noise);
        File.WriteAllBytes($"{_folder}/noise", noise);
        foreach (string name in PageTableFormats.Names)
        {
            for (int i = 0; i < 8; i++)
            {
                int status = Run(out string text, "pt", "walk", "--format", name, "--image", $"{_folder}/noise", "--root", $"{i * 0x1000}", "--iova",
                    $"{i * 0x123000}");
                Assert.True(status is 0 or 1, text);
            }
        }
    }

    [Fact]
    public void A_unit_is_served_through_its_registers()
    {
        using LineServer server = new();
        Ask(server, """{"op":"memory","address":"0x1000","size":65536}""");
        Ask(server, """{"op":"load","address":"0x1000","words":["0x2001"]}""");
        Ask(server, """{"op":"load","address":"0x2180","words":["0x3001",257]}""");
        Ask(server, """{"op":"load","address":"0x3000","words":["0x4003"]}""");
        Ask(server, """{"op":"load","address":"0x4000","words":["0x80000083"]}""");
        Ask(server, """{"op":"unit","kind":"vtd"}""");
        Ask(server, """{"op":"write-register","offset":"0x20","bytes":8,"value":"0x1000"}""");
        Ask(server, """{"op":"write-register","offset":"0x18","bytes":4,"value":"0x40000000"}""");
        Ask(server, """{"op":"write-register","offset":"0x18","bytes":4,"value":"0x80000000"}""");
        JsonElement found = Ask(server, """{"id":"a","op":"translate","device":24,"iova":"0x1234","access":"r"}""");
        Assert.Equal("0x80001234", found.GetProperty("output").GetString());
        Assert.Equal("a", found.GetProperty("id").GetString());
        JsonElement refused = Ask(server, """{"op":"translate","device":24,"iova":"0x40000000","access":"w"}""");
        Assert.Equal(5, refused.GetProperty("reason").GetInt32());
    }

    [Theory]
    [InlineData("", "the line is not JSON")]
    [InlineData("[1]", "a request is an object")]
    [InlineData("""{"op":"fly"}""", "there is no op 'fly'")]
    [InlineData("""{"op":"load","address":-1,"hex":"00"}""", "address is not a number: 4096 or \"0x1000\"")]
    [InlineData("""{"op":"load","address":0,"hex":"0"}""", "hex is pairs of hexadecimal digits")]
    [InlineData("""{"op":"memory","address":"0xffffffffffffffff","size":16}""", "memory is there already, or does not lie below 0xffbfffffe00000")]
    [InlineData("""{"op":"translate","iova":0,"device":65536}""", "device has 16 bits, pasid 20")]
    [InlineData("""{"op":"write-register","offset":0,"bytes":4,"value":0}""", "there is no unit; begin with op unit")]
    public void A_request_that_cannot_be_done_is_answered(string request, string error)
    {
        using LineServer server = new();
        Assert.Equal(error, Ask(server, request).GetProperty("error").GetString());
    }

    [Fact]
    public void Ten_thousand_requests_take_less_than_a_second()
    {
        StringBuilder requests = new();
        requests.AppendLine("""{"op":"load","address":"0x1000","words":["0x2003"]}""");
        requests.AppendLine("""{"op":"load","address":"0x2000","words":["0x80000083"]}""");
        requests.AppendLine("""{"op":"tables","format":"vtd-ss-39","root":"0x1000"}""");
        for (int i = 0; i < 10_000; i++)
        {
            requests.Append("""{"id":""").Append(i).Append(""","op":"translate","iova":""").Append(i).AppendLine("}");
        }

        // The best of some tries: other work on the machine is not what is measured.
        TimeSpan best = TimeSpan.MaxValue;
        for (int i = 0; i < 5 && best > TimeSpan.FromSeconds(1); i++)
        {
            using StringWriter output = new();
            Stopwatch watch = Stopwatch.StartNew();
            _ = Program.Run(["pt", "serve"], new Terminal(output, output, false, false) { Piped = () => new StringReader(requests.ToString()) },
                static (_, _) => throw new InvalidOperationException());
            best = watch.Elapsed < best ? watch.Elapsed : best;
            Assert.EndsWith("\"ok\":true,\"output\":\"0x8000270f\",\"pageSizeLg2\":21,\"allowed\":\"rwx\"}\n",
                output.ToString().ReplaceLineEndings("\n"), StringComparison.Ordinal);
        }

        Assert.True(best < TimeSpan.FromSeconds(1), $"{best}");
    }

    private static JsonElement Ask(LineServer server, string request)
    {
        ArrayBufferWriter<byte> answer = new();
        server.Answer(Encoding.UTF8.GetBytes(request), answer);
        return JsonDocument.Parse(answer.WrittenMemory).RootElement;
    }

    private static int Run(out string text, params string[] args)
    {
        using StringWriter output = new() { NewLine = "\n" };
        int status = Program.Run(args, new Terminal(output, output, interactive: false, colour: false),
            static (_, _) => throw new InvalidOperationException("pt needs no host"));
        text = output.ToString();
        Assert.NotEqual((int)ExitCode.Internal, status);
        return status;
    }
}
