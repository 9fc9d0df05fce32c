using IommuFd.HwSim;
using IommuFd.Sysfs;
using VfioCli.Tests.Support;
using Xunit;

namespace VfioCli.Tests;

/// <summary><c>vfio flow</c>: the flows themselves are tested with the library; here is what a person sees.</summary>
public sealed class FlowTests
{
    [Fact]
    public void Each_step_is_told_with_its_addresses_and_what_the_tables_say()
    {
        using SimulatedHost host = new(Topology.ByName("intel"));
        Vfio run = Vfio.On(host, new MemoryBindingStore(), "flow", "4.3").Exits(ExitCode.Ok);
        Assert.Matches("IOMMU_MAP_DMA +giova: 0x2000 -> gpa 0x1000, 0x1000 bytes", run.Out);
        Assert.Matches(
            "DMA +dev2 reads 0x2000: 0x5246430000001000\n +walk: VtdUnit, requester 0x0020: physical 0x[0-9a-f]+, page of 0x1000 bytes", run.Out);
        Assert.Contains("flow 4.3 on iommufd: passed, 8 translations as expected", run.Out, StringComparison.Ordinal);
    }

    [Fact]
    public void The_functions_go_back_to_their_drivers()
    {
        using SimulatedHost host = new(Topology.ByName("legacy-vfio"));
        Vfio run = Vfio.On(host, new MemoryBindingStore(), "flow", "4.3", "0000:02:02.0", "0000:00:04.0").Exits(ExitCode.Ok);
        Assert.Contains("dev1 = 0000:02:02.0", run.Out, StringComparison.Ordinal);
        Assert.Contains("flow 4.3 on container: passed", run.Out, StringComparison.Ordinal);
        Assert.Null(DriverPlan.Now(host.Sysfs, PciAddress.Parse("0000:00:04.0")).Driver);
    }

    [Theory]
    [InlineData("9.9", 2, "there is no flow '9.9'. There are 4.1 (one address space)")]
    [InlineData("4.1 0000:00:04.0 0000:02:01.0 0000:02:02.0", 2, "a flow needs two functions, not 3")]
    [InlineData("4.1 --interface x", 2, "'x' is no kernel interface")]
    [InlineData("4.1 0000:00:05.0 0000:00:04.0", 5, "0000:00:05.0 belongs to driver nvme")]
    [InlineData("4.1 --bind 0000:00:05.0 0000:00:04.0", 6, "The DMA engine of 1b36:0010 is not known here")]
    public void What_cannot_be_is_refused_in_one_sentence(string line, int code, string sentence)
    {
        using SimulatedHost host = new(Topology.ByName("intel"));
        Vfio run = Vfio.On(host, new MemoryBindingStore(), ["flow", .. line.Split(' ')]).Exits((ExitCode)code);
        Assert.StartsWith("vfio: " + sentence, run.Error, StringComparison.Ordinal);
    }
}
