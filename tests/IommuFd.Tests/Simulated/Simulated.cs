using IommuFd.HwSim;
using IommuFd.Native;
using IommuFd.Sysfs;

namespace IommuFd.Tests;

/// <summary>A simulated machine with its devices on vfio-pci.</summary>
internal sealed class Simulated : IDisposable
{
    internal static readonly PciAddress Edu = PciAddress.Parse("0000:00:04.0");
    internal static readonly PciAddress PairFirst = PciAddress.Parse("0000:02:01.0");
    internal static readonly PciAddress PairSecond = PciAddress.Parse("0000:02:02.0");

    internal Simulated(string topology = "intel")
    {
        Machine = new SimulatedHost(Topology.ByName(topology));
        Host = IommuHost.Over(Machine);
        DriverBinder binder = new(Machine.Sysfs, new MemoryBindingStore());
        Assert.Null(binder.Apply(binder.PlanBind(WithIommu(Machine, Edu, PairFirst, PairSecond), DriverClaim.VfioPci)));
    }

    /// <summary>Those that have an IOMMU: behind an SMMUv3 the second of the pair has none.</summary>
    internal static PciAddress[] WithIommu(SimulatedHost machine, params PciAddress[] devices) =>
        [.. devices.Where(device => machine.Unit is null || machine.IommuDevice(device.ToString())?.Group is not null)];

    internal SimulatedHost Machine { get; }

    internal IommuHost Host { get; }

    public void Dispose()
    {
        Host.Dispose();
        Machine.Dispose();
    }
}
