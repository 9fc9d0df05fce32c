using System.Reflection;
using System.Text.Json;
using IommuFd.HwSim;
using IommuFd.Sysfs;
using VfioCli.Tests.Support;
using Xunit;

namespace VfioCli.Tests;

/// <summary>Every document that the command prints is one that docs/schema describes, on a good and on a broken host.</summary>
public class SchemaTests
{
    [Theory]
    [InlineData("list")]
    [InlineData("show 0000:00:04.0 0000:01:00.0 0000:02:01.0")]
    [InlineData("explain 0000:00:04.0 0000:00:05.0 0000:00:07.0")]
    [InlineData("groups")]
    [InlineData("topology")]
    [InlineData("iommu")]
    [InlineData("doctor")]
    [InlineData("bind 0000:00:05.0")]
    [InlineData("bind --dry-run --group 0000:02:01.0")]
    [InlineData("unbind --dry-run 0000:00:05.0")]
    [InlineData("restore")]
    [InlineData("attach 0000:00:04.0 --selftest --map 2M@0x100000")]
    [InlineData("attach --bind 0000:00:05.0")]
    [InlineData("flow 4.3")]
    [InlineData("flow 4.1 --interface container")]
    [InlineData("reset --dry-run --force 0000:00:05.0")]
    [InlineData("vf create 0000:01:00.0 2")]
    [InlineData("vf token")]
    [InlineData("mdev")]
    [InlineData("mdev types")]
    [InlineData("drift --root /nonexistent")]
    [InlineData("show 0000:00:09.0")]
    [InlineData("bind 0000:00:07.0")]
    [InlineData("attach 0000:00:04.0 --map 4K@1")]
    public void Documents_are_as_described(string line)
    {
        using SimulatedHost host = new(Topology.Load("intel"));
        Judge(Vfio.On(host, new MemoryBindingStore(), ["--json", .. line.Split(' ')]));
    }

    [Theory]
    [InlineData("list")]
    [InlineData("show 0000:00:04.0")]
    [InlineData("explain 0000:00:04.0")]
    [InlineData("groups")]
    [InlineData("topology")]
    [InlineData("iommu")]
    [InlineData("doctor")]
    public void Documents_of_a_bare_machine_are_as_described(string line)
    {
        TestMachine machine = new();
        machine.Function("0000:00:04.0", "1234:11e8", "00ff00");
        Judge(Vfio.Run(machine, ["--json", .. line.Split(' ')]));
    }

    [Fact]
    public void Faults_are_as_described()
    {
        string file = Path.GetTempFileName();
        try
        {
            File.WriteAllText(
                file, "DMAR: [DMA Write PASID 0x5] Request device [00:04.0] fault addr 0x2800 [fault reason 0x05] x\nDMAR: [INTR-REMAP] Request "
                + "device [0000:f0:1f.7] fault index 0x21 [fault reason 0x25] x\n");
            Vfio run = Vfio.Run(TestMachine.Standard(), "fault", file, "--json").Exits(ExitCode.Ok);
            Judge(run);
            Assert.Equal(2, run.Json().GetProperty("faults").GetArrayLength());
        }
        finally
        {
            File.Delete(file);
        }
    }

    private static void Judge(Vfio run)
    {
        JsonElement document = run.Json();
        string name = document.GetProperty("schema").GetString()!;
        Assert.Matches("^vfio\\.[a-z-]+/1$", name);
        JsonElement schema = JsonDocument.Parse(Schema(name[5..^2])).RootElement;
        Assert.Equal(name, schema.GetProperty("$id").GetString());
        Assert.Empty(JsonSchema.Violations(schema, document));
        Assert.Equal(name == "vfio.error/1", run.ExitStatus > 1);
    }

    private static string Schema(string name)
    {
        using Stream stream = Assembly.GetExecutingAssembly().GetManifestResourceStream(name + ".json")
            ?? throw new InvalidOperationException($"docs/schema has no {name}.json");
        using StreamReader reader = new(stream);
        return reader.ReadToEnd();
    }
}
