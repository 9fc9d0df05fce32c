using IommuFd.HwSim;
using IommuFd.Native;
using IommuFd.Sysfs;
using RfcFlows;

namespace IommuFd.Tests;

/// <summary>
/// The flows of the proposal, section 4, on every kernel interface and every family of IOMMUs: each checks its translations by DMA, and they are the
/// same.
/// </summary>
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
    [Trait("rfc", "4.4 mainline")]
    [InlineData("intel-scalable")]
    [InlineData("arm-smmuv3")]
    public void Hardware_nesting_over_mainline(string topology) => Passes("4.4", topology, ContextKind.Iommufd);

    [Fact]
    [Trait("rfc", "4.5 mainline")]
    public void VSVA_over_mainline() => Passes("4.5", "intel-scalable", ContextKind.Iommufd);

    [Fact]
    [Trait("rfc", "4.6 mainline")]
    public void Page_faults_over_mainline() => Passes("4.6", "intel-scalable", ContextKind.Iommufd);

    [Theory]
    [Trait("rfc", "4.4 legacy refused")]
    [Trait("rfc", "4.5 legacy refused")]
    [Trait("rfc", "4.6 legacy refused")]
    [InlineData("legacy-vfio")]
    public void Legacy_VFIO_refuses_tables_of_the_program_and_PASIDs_by_name(string topology)
    {
        using SpaceMachine machine = new(topology);
        using IoAddressSpace root = machine.Context.CreateAddressSpace();
        IommuFdException table = Assert.Throws<IommuFdException>(() => root.CreateUserTable(new UserTable(UserTableFormat.VtdFirstStage, 0)));
        Assert.Equal((Errno.EOPNOTSUPP, FailureCause.NotSupported), (table.Errno, table.Cause));
        Assert.Contains("legacy VFIO has no hardware nesting", table.Message, StringComparison.Ordinal);
        using BoundDevice device = machine.Bind(Simulated.Edu, 1);
        IommuFdException pasid = Assert.Throws<IommuFdException>(() => device.Attach(root, pasid: 1));
        Assert.Equal((Errno.EOPNOTSUPP, FailureCause.NotSupported), (pasid.Errno, pasid.Cause));
        Assert.Contains("no PASIDs", pasid.Message, StringComparison.Ordinal);
        Assert.Throws<NotSupportedException>(() => Run("4.4", topology, ContextKind.Container));
    }

    [Theory]
    [Trait("rfc", "4.1")]
    [Trait("rfc", "4.2")]
    [Trait("rfc", "4.3")]
    [Trait("rfc", "4.4")]
    [Trait("rfc", "4.5")]
    [Trait("rfc", "4.6")]
    [InlineData("4.1")]
    [InlineData("4.2")]
    [InlineData("4.3")]
    [InlineData("4.4")]
    [InlineData("4.5")]
    [InlineData("4.6")]
    public void On_the_proposals_own_kernel(string flow) => Passes(flow, "rfc", ContextKind.Rfc);

    [Fact]
    [Trait("rfc", "4.5")]
    [Trait("rfc", "1.6-type4")]
    public void VSVA_with_the_PASID_table_delegated_gives_the_same_translations() =>
        Assert.Equal(Run("4.5", "intel-scalable", ContextKind.Iommufd), Run("4.5", "rfc-smmuv3", ContextKind.Rfc));

    [Fact]
    [Trait("rfc", "4.5 mainline")]
    [Trait("rfc", "1.6-type4 mainline")]
    public void VSVA_with_the_PASID_table_delegated_over_mainline()
    {
        Topology arm = Topology.Parse("""
            { "name": "arm-pasid", "extends": "arm-smmuv3", "functions": [{ "address": "0000:00:08.0", "model": "pasid", "configSize": 4096, "bars": [
              { "index": 0, "kind": "memory32", "size": "0x20000", "address": "0xfe700000" },
              { "index": 2, "kind": "memory32", "size": "0x1000", "address": "0xfe720000" }] }] }
            """);
        Assert.Equal(Run("4.5", "intel-scalable", ContextKind.Iommufd), Run("4.5", arm, ContextKind.Iommufd));
    }

    [Theory]
    [InlineData("4.1")]
    [InlineData("4.2")]
    [InlineData("4.3")]
    public void The_translations_are_the_same_on_every_interface(string flow)
    {
        IReadOnlyList<FlowTranslation> mainline = Run(flow, "intel", ContextKind.Iommufd);
        Assert.NotEmpty(mainline);
        Assert.Equal(mainline, Run(flow, "legacy-vfio", ContextKind.Container));
        Assert.Equal(mainline, Run(flow, "rfc", ContextKind.Rfc));
    }

    [Theory]
    [InlineData("4.4")]
    [InlineData("4.5")]
    [InlineData("4.6")]
    public void The_translations_of_hardware_nesting_are_the_same_where_there_is_any(string flow) =>
        Assert.Equal(Run(flow, "intel-scalable", ContextKind.Iommufd), Run(flow, "rfc", ContextKind.Rfc));

    private static void Passes(string flow, string topology, ContextKind kind) => Assert.NotEmpty(Run(flow, topology, kind));

    private static List<FlowTranslation> Run(string flow, string topology, ContextKind kind) => Run(flow, Topology.ByName(topology), kind);

    private static List<FlowTranslation> Run(string flow, Topology topology, ContextKind kind)
    {
        using SimulatedHost simulated = new(topology);
        using IommuHost host = IommuHost.Over(simulated);
        FlowMachine machine = FlowMachine.Find(host, kind);
        DriverBinder binder = new(simulated.Sysfs, new MemoryBindingStore());
        Assert.Null(binder.Apply(binder.PlanBind(machine.DevicesOf(Flow.Find(flow)!), DriverClaim.VfioPci)));
        using FlowRun run = new(machine);
        Flow.Find(flow)!.Run(run);
        Assert.Equal(kind, run.Kind);
        return [.. run.Translations];
    }
}
