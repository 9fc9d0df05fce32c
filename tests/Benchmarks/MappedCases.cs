using System.Diagnostics;
using IommuFd;
using IommuFd.HwSim;
using IommuFd.Sysfs;

namespace Benchmarks;

/// <summary>Registers that are memory: a BAR of the network controller on the machine intel-mapped.</summary>
internal sealed class MappedCases : IDisposable
{
    // A word that the model does not look at.
    private const ulong Register = 0x1FF00;
    private readonly SimulatedHost _machine = new(Topology.ByName("intel-mapped"));
    private readonly IommuHost _host;
    private readonly IommuContext _context;
    private readonly BoundDevice _device;
    private readonly Bar _bar;
    private uint _sum;

    public MappedCases()
    {
        _host = IommuHost.Over(_machine);
        _context = _host.OpenContext();
        var address = PciAddress.Parse("0000:01:00.0");
        var binder = new DriverBinder(_machine.Sysfs, new MemoryBindingStore());
        _ = binder.Apply(binder.PlanBind([address], DriverClaim.VfioPci));
        _device = _host.OpenDevice(address).Bind(_context, cookie: 1);
        _bar = _device.OpenBar(0);
        if (!_bar.IsMapped)
            throw new InvalidOperationException("the BAR is not mapped");
    }

    public static IEnumerable<Case> All(Func<MappedCases> cases)
    {
        yield return Case.Absolute(12, "MMIO read of 32 bits", "ns", 2.5, () => cases().Reads);
        yield return Case.Absolute(12, "MMIO write of 32 bits", "ns", 2.5, () => cases().Writes);
    }

    public void Dispose()
    {
        _bar.Dispose();
        _device.Dispose();
        _context.Dispose();
        _host.Dispose();
        _machine.Dispose();
    }

    private double Reads()
    {
        const int n = 100_000;
        var bar = _bar;
        uint sum = 0;
        var start = Stopwatch.GetTimestamp();
        for (var i = 0; i < n; i++)
            sum += bar.Read32(Register);
        var time = Stopwatch.GetElapsedTime(start).TotalNanoseconds / n;
        _sum += sum;
        return time;
    }

    private double Writes()
    {
        const int n = 100_000;
        var bar = _bar;
        var start = Stopwatch.GetTimestamp();
        for (uint i = 0; i < n; i++)
            bar.Write32(Register, i);
        return Stopwatch.GetElapsedTime(start).TotalNanoseconds / n;
    }
}
