using IommuFd;
using IommuFd.Sysfs;
using RfcFlows;
using Xunit;

namespace Conformance.Flows;

/// <summary>Flows 4.1 to 4.3 of the proposal on real devices: the DMA of two edus proves each translation, on the simulator and on Linux.</summary>
public sealed class FlowTests : IDisposable
{
    private readonly TestHost _t = new();

    public void Dispose() => _t.Dispose();

    [Fact]
    [Trait("rfc", "4.1 mainline")]
    public void One_address_space() => Run("4.1", ContextKind.Iommufd, 6);

    [Fact]
    [Trait("rfc", "4.2 mainline")]
    public void Several_address_spaces_without_nesting() => Run("4.2", ContextKind.Iommufd, 5);

    [Fact]
    [Trait("rfc", "4.3 mainline")]
    public void Software_nesting() => Run("4.3", ContextKind.Iommufd, 8);

    [Fact]
    [Trait("rfc", "4.3 legacy")]
    public void Software_nesting_over_containers()
    {
        TestHost.Need(_t.Exists("/dev/vfio/vfio"), "there is no /dev/vfio/vfio");
        Run("4.3", ContextKind.Container, 8);
    }

    private void Run(string number, ContextKind kind, int translations)
    {
        TestHost.Need(_t.Sysfs.List("/sys/class/iommu", out string[] units) >= 0 && units.Length > 0, "there is no IOMMU");
        TestHost.Need(
            !_t.IsVtdScalable,
            "in VT-d's scalable mode Linux makes no context entry for the requester id of a bridge to conventional PCI, so that the DMA of the "
                + "pair is refused");
        PciAddress dev1 = PciAddress.Parse(_t.BindVfio(_t.PairA)), dev2 = PciAddress.Parse(_t.BindVfio(_t.Single));
        using IommuHost host = IommuHost.Over(_t.Host);
        using FlowRun run = new(new FlowMachine(host, kind, dev1, dev2));
        Flow.Find(number)!.Run(run);
        Assert.Equal((kind, translations), (run.Kind, run.Translations.Count));
    }
}
