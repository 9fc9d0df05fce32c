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

    internal Simulated(Func<IHost, IHost>? decorate = null, params PciAddress[] bind)
    {
        Machine = new SimulatedHost(Topology.ByName("intel"));
        Host = IommuHost.Over(decorate?.Invoke(Machine) ?? Machine);
        DriverBinder binder = new(Machine.Sysfs, new MemoryBindingStore());
        Assert.Null(binder.Apply(binder.PlanBind(bind.Length == 0 ? [Edu, PairFirst, PairSecond] : bind, DriverClaim.VfioPci)));
    }

    internal SimulatedHost Machine { get; }

    internal IommuHost Host { get; }

    public void Dispose()
    {
        Host.Dispose();
        Machine.Dispose();
    }
}
