using VfioCli.Tests.Support;
using Xunit;

namespace VfioCli.Tests;

public class BadInputTests
{
    [Theory]
    [InlineData("show 0:4", 2, "'0:4' is not a PCI address. Write it as 0000:00:04.0 or 00:04.0 (hexadecimal domain:bus:device.function); `vfio "
        + "list` shows them.")]
    [InlineData("show 0000:00:09.0", 3, "0000:00:09.0: there is no such PCI function on test machine. `vfio list` shows the functions that are "
        + "there.")]
    [InlineData("bind", 2, "bind needs a PCI function such as 0000:00:04.0. `vfio list` shows them, `vfio bind --help` the usage.")]
    [InlineData("bnid 0000:00:04.0", 2, "'bnid' is not a verb. `vfio help` lists them.")]
    [InlineData("lst", 2, "'lst' is not a verb. Did you mean `vfio list`?")]
    [InlineData("list --bogus", 2, "list has no option '--bogus'. `vfio list --help` lists its options.")]
    [InlineData("bind --timeout x 0000:00:04.0", 2, "the value of --timeout cannot be read. `vfio bind --help` shows what it takes.")]
    [InlineData("bind --timeout 0 0000:00:04.0", 2, "--timeout 0 is not a time. Give it in seconds, at least 1.")]
    [InlineData("list --class", 2, "--class needs a value: --class CLASS. `vfio list --help` tells more.")]
    [InlineData("list --class --json", 2, "--class needs a value: --class CLASS. `vfio list --help` tells more.")]
    [InlineData("attach 0000:00:04.0 --map=", 2, "--map needs a value: --map SIZE[@IOVA]. `vfio attach --help` tells more.")]
    [InlineData("list --group x", 2, "'x' is not a group. Give its number, or none for functions without one; `vfio groups` shows them.")]
    [InlineData("iommu x", 2, "iommu takes no argument 'x'. `vfio iommu --help` shows the usage.")]
    [InlineData("fault a b", 2, "fault takes no argument 'b'. `vfio fault --help` shows the usage.")]
    [InlineData("vf", 2, "vf needs create|delete|show|token. `vfio vf --help` shows the usage.")]
    [InlineData("sim", 2, "sim needs run|shell|topologies|check. `vfio sim --help` shows the usage.")]
    [InlineData("completion", 2, "completion needs bash|zsh|fish. `vfio completion --help` shows the usage.")]
    [InlineData("help bogus", 2, "'bogus' is not a verb. `vfio help` lists them.")]
    [InlineData("mdev start", 2, "`vfio mdev start` is not complete or not known. It is mdev list, types, define UUID PARENT TYPE, start UUID "
        + "[PARENT TYPE], stop UUID, or forget UUID.")]
    [InlineData("bind 0000:00:07.0", 6, "0000:00:07.0 is a PCI bridge, and VFIO takes no bridges. Leave it on its driver: bridges do not keep a "
        + "group from user space.")]
    [InlineData("bind --driver vfio_pci 0000:00:04.0", 6, "driver vfio_pci is not there. Load it: `modprobe vfio_pci` (the generic driver is "
        + "called vfio-pci).")]
    public void Bad_input_gets_one_sentence_of_cause_and_one_of_remedy(string line, int status, string sentence) =>
        Vfio.Run(TestMachine.Standard(), line.Split(' ')).Exits((ExitCode)status).Complains(sentence);

    [Theory]
    [InlineData("--help")]
    [InlineData("help")]
    [InlineData("help bind")]
    [InlineData("bind --help")]
    [InlineData("--version")]
    [InlineData("version")]
    public void Help_and_version_are_answers(string line)
    {
        Vfio run = Vfio.Run(TestMachine.Standard(), line.Split(' ')).Exits(ExitCode.Ok);
        Assert.NotEmpty(run.Out);
        Assert.Empty(run.Error);
    }

    [Fact]
    public void Help_of_a_verb_is_the_same_both_ways() =>
        Assert.Equal(Vfio.Run(TestMachine.Standard(), "bind", "--help").Out, Vfio.Run(TestMachine.Standard(), "help", "bind").Out);

    [Fact]
    public void Errors_are_a_json_document_too()
    {
        System.Text.Json.JsonElement root = Vfio.Run(TestMachine.Standard(), "show", "--json", "0000:00:09.0").Exits(ExitCode.NotFound).Json();
        Assert.Equal("vfio.error/1", root.GetProperty("schema").GetString());
        Assert.Equal(3, root.GetProperty("exitStatus").GetInt32());
        Assert.Equal("ENOENT", root.GetProperty("errno").GetString());
    }
}
