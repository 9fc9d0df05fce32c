using IommuFd.HwSim;
using IommuFd.Native;
using Xunit;

namespace HwSim.Tests.Topologies;

public sealed class TopologyTests
{
    public static TheoryData<string> Names => [.. Topology.Names];

    [Theory]
    [MemberData(nameof(Names))]
    public void Every_built_in_topology_boots(string name)
    {
        using var host = new SimulatedHost(Topology.ByName(name));
        Assert.True(host.Sysfs.List("/sys/bus/pci/devices", out string[] devices) >= 13);
        Assert.Contains("0000:00:04.0", devices);
        Assert.Contains($"'{name}'", host.Description, StringComparison.Ordinal);
    }

    [Fact]
    public void An_unknown_name_lists_the_known_ones()
    {
        TopologyException e = Assert.Throws<TopologyException>(() => Topology.ByName("nowhere"));
        Assert.Contains("intel", e.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("[]", "the topology is not an object")]
    [InlineData("{", "this is not JSON")]
    [InlineData("""{ "functions": [] }""", "has no 'name'")]
    [InlineData("""{ "name": "x" }""", "has no 'functions'")]
    [InlineData("""{ "name": "x", "functions": [], "colour": 1 }""", "'colour' that means nothing")]
    [InlineData("""{ "name": "x", "functions": [{ "address": "nonsense" }] }""", "'nonsense' is not a PCI address")]
    [InlineData("""{ "name": "x", "functions": [{ "address": "00:01.0" }, { "address": "0000:00:01.0" }] }""", "0000:00:01.0 is there twice")]
    [InlineData("""{ "name": "x", "functions": [{ "address": "00:01.0", "bars": [{ "index": 0, "size": 3 }] }] }""", "is not a power of two")]
    [InlineData("""{ "name": "x", "functions": [{ "address": "00:01.0", "id": "12345" }] }""", "it has the form 8086:10c9")]
    [InlineData("""{ "name": "x", "functions": [{ "address": "00:01.0", "config": { "40": "xy" } }] }""", "hexadecimal bytes")]
    [InlineData("""{ "extends": "nowhere" }""", "'extends' is")]
    [InlineData("""{ "name": "x", "functions": [], "without": ["iommfd"] }""", "'iommfd', which is no part")]
    public void A_text_that_is_no_topology_is_one_sentence(string json, string expected) =>
        Assert.Contains(expected, Assert.Throws<TopologyException>(() => Topology.Parse(json)).Message, StringComparison.Ordinal);

    [Fact]
    public void A_topology_extends_another_one()
    {
        Topology topology = Topology.Parse("""{ "name": "mine", "extends": "intel", "functions": [{ "address": "0000:00:04.0", "numaNode": 1 }] }""");
        FunctionTopology edu = Assert.Single(topology.Functions, f => f.Address == "0000:00:04.0");
        Assert.Equal(1, edu.NumaNode);
        Assert.Equal("edu", edu.Model);
        Assert.Equal(Topology.ByName("intel").Functions.Count, topology.Functions.Count);
    }

    [Fact]
    public void The_example_of_the_documentation_boots()
    {
        string root = AppContext.BaseDirectory;
        while (root is not "" && !File.Exists(Path.Combine(root, "docs", "topology.md")))
        {
            root = Path.GetDirectoryName(root) ?? "";
        }

        Assert.SkipWhen(root == "", "the documentation is not where only the binaries are");
        string document = File.ReadAllText(Path.Combine(root, "docs", "topology.md"));
        int start = document.IndexOf("```json", StringComparison.Ordinal) + "```json".Length;
        using var host = new SimulatedHost(Topology.Parse(document[start..document.IndexOf("```", start, StringComparison.Ordinal)]));
        Assert.Equal("mine", host.Topology.Name);
        Assert.True(host.Sysfs.ReadText("/sys/bus/pci/devices/0000:00:04.0/numa_node", out string node) > 0);
        Assert.Equal("1\n", node);
        Assert.True(host.Sysfs.ReadText("/sys/bus/pci/devices/0000:00:09.0/class", out string type) > 0);
        Assert.Equal("0x030000\n", type);
        Assert.All(Topology.Names, name => Assert.Contains($"`{name}`", document, StringComparison.Ordinal));
    }

    [Fact]
    public void A_model_that_does_not_exist_is_refused() => Assert.Contains(
        "'toaster'",
        Assert.Throws<TopologyException>(() => new SimulatedHost(Topology.Parse("""
            { "name": "x", "functions": [{ "address": "00:01.0", "model": "toaster" }] }
            """))).Message,
        StringComparison.Ordinal);

    [Fact]
    public void Two_machines_in_one_process_are_independent()
    {
        using SimulatedHost first = new(Topology.ByName("intel")), second = new(Topology.ByName("intel"));
        Assert.Equal(0, first.Sysfs.WriteText("/sys/bus/pci/devices/0000:00:04.0/driver_override", "vfio-pci"));
        Assert.Equal(0, first.Sysfs.WriteText("/sys/bus/pci/drivers_probe", "0000:00:04.0"));
        Assert.Equal(0, first.Sysfs.Status("/dev/vfio/devices/vfio0", out _));
        Assert.Equal(-Errno.ENOENT, second.Sysfs.Status("/dev/vfio/devices/vfio0", out _));
        second.Sysfs.ReadText("/sys/bus/pci/devices/0000:00:04.0/driver_override", out string text);
        Assert.Equal("(null)\n", text);
    }

    [Fact]
    public void The_broken_holder_keeps_its_device()
    {
        using var host = new SimulatedHost(Topology.ByName("broken-holder"));
        Assert.True(host.Sysfs.ReadLink("/proc/4242/fd/4", out string node) > 0);
        Assert.Equal("/dev/vfio/devices/vfio0", node);
        int device = host.Kernel.Open(node, Libc.O_RDWR | Libc.O_CLOEXEC, 0);
        Assert.True(device >= 0);
        Assert.Equal(-Errno.EBUSY, host.Kernel.Open("/dev/vfio/3", Libc.O_RDWR | Libc.O_CLOEXEC, 0));
        Assert.Equal(0, host.Kernel.Close(device));
    }
}
