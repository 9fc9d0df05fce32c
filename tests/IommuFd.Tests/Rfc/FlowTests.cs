using IommuFd.HwSim;
using IommuFd.Sysfs;
using RfcFlows;

namespace IommuFd.Tests;

/// <summary>The flows of the proposal, section 4, on every kernel interface and every family of IOMMUs: each checks its translations by DMA, and they are the same.</summary>
public sealed class FlowTests
{
    [Theory]
    [Trait("rfc", "4.1 mainline")]
    [InlineData("intel")]
    [InlineData("intel-scalable")]
    [InlineData("amd")]
    [InlineData("arm-smmuv3")]
    [InlineData("riscv")]
    public void One_space_over_mainline(string topology) => Passes("4.1", topology, ContextKind.Iommufd);

    [Fact]
    [Trait("rfc", "4.1 legacy")]
    public void One_space_over_legacy_VFIO() => Passes("4.1", "legacy-vfio", ContextKind.Container);

    [Theory]
    [Trait("rfc", "4.2 mainline")]
    [InlineData("intel")]
    [InlineData("intel-scalable")]
    [InlineData("amd")]
    [InlineData("arm-smmuv3")]
    [InlineData("riscv")]
    public void Several_spaces_without_nesting_over_mainline(string topology) => Passes("4.2", topology, ContextKind.Iommufd);

    [Fact]
    [Trait("rfc", "4.2 legacy")]
    public void Several_spaces_without_nesting_over_legacy_VFIO() => Passes("4.2", "legacy-vfio", ContextKind.Container);

    [Theory]
    [Trait("rfc", "4.3 mainline")]
    [InlineData("intel")]
    [InlineData("intel-scalable")]
    [InlineData("amd")]
    [InlineData("arm-smmuv3")]
    [InlineData("riscv")]
    public void Software_nesting_over_mainline(string topology) => Passes("4.3", topology, ContextKind.Iommufd);

    [Fact]
    [Trait("rfc", "4.3 legacy")]
    public void Software_nesting_over_legacy_VFIO() => Passes("4.3", "legacy-vfio", ContextKind.Container);

    [Theory]
    [InlineData("4.1")]
    [InlineData("4.2")]
    [InlineData("4.3")]
    public void The_translations_are_the_same_on_every_interface(string flow)
    {
        IReadOnlyList<FlowTranslation> mainline = Run(flow, "intel", ContextKind.Iommufd);
        Assert.NotEmpty(mainline);
        Assert.Equal(mainline, Run(flow, "legacy-vfio", ContextKind.Container));
    }

    private static void Passes(string flow, string topology, ContextKind kind) => Assert.NotEmpty(Run(flow, topology, kind));

    private static List<FlowTranslation> Run(string flow, string topology, ContextKind kind)
    {
        using SimulatedHost simulated = new(Topology.ByName(topology));
        using IommuHost host = IommuHost.Over(simulated);
        FlowMachine machine = FlowMachine.Find(host, kind);
        DriverBinder binder = new(simulated.Sysfs, new MemoryBindingStore());
        Assert.Null(binder.Apply(binder.PlanBind([machine.Device1, machine.Device2], DriverClaim.VfioPci)));
        using FlowRun run = new(machine);
        Flow.Find(flow)!.Run(run);
        Assert.Equal(kind, run.Kind);
        return [.. run.Translations];
    }
}
