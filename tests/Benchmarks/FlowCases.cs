using System.Diagnostics;
using IommuFd;
using IommuFd.HwSim;
using IommuFd.Native;
using IommuFd.Sysfs;

namespace Benchmarks;

/// <summary>The flows of the proposal, section 4, in the library's model from opening to closing: all of their time by that of the system calls in them.</summary>
internal sealed class FlowCases : IDisposable
{
    private const ulong RamBytes = 2 << 20, Page = 4096;
    private readonly TimedHost _timed;
    private readonly IommuHost _host;
    private readonly string _first, _second, _pasid;
    private readonly DmaBuffer _ram;
    private readonly IHost? _machine;

    /// <summary>Two functions that a VFIO driver has, and one with PASIDs; the host stays the caller's.</summary>
    public FlowCases(IHost host, PciAddress first, PciAddress second, PciAddress pasid)
    {
        _timed = new TimedHost(host);
        _host = IommuHost.Over(_timed);
        if (host is SimulatedHost)
            Bind(host, first, second, pasid);
        var bus = new PciBus(host.Sysfs);
        string Node(PciAddress address) => bus.Find(address)?.DeviceNode ?? throw new InvalidOperationException($"{address} has no character device");
        (_first, _second, _pasid) = (Node(first), Node(second), Node(pasid));
        _ram = _host.AllocateBuffer(RamBytes);
        _ram.Span.Clear();
    }

    private FlowCases(SimulatedHost machine, PciAddress[] functions)
        : this(machine, functions[0], functions[1], functions[2]) => _machine = machine;

    /// <summary>All on a simulated machine. For information: its kernel answers in a tenth of the time that the real one needs.</summary>
    public static IEnumerable<Case> OnSimulator(Func<FlowCases> cases) =>
        ((string[])["4.1", "4.2", "4.3", "4.4", "4.5", "4.6"]).Select(number => Case.Absolute(15, $"simulator: flow {number}, whole by its system calls", "x", double.NaN, () =>
        {
            var flows = cases();
            return () => flows.Run(number);
        }));

    public static FlowCases Simulated() => new(new SimulatedHost(Topology.ByName("intel-scalable")), [.. Functions()]);

    /// <summary>Those that need no table of the user.</summary>
    public IEnumerable<Case> OnKernel() =>
        ((string[])["4.1", "4.2", "4.3"]).Select(number => Case.Absolute(15, $"real kernel: flow {number}, whole by its system calls", "x", 1.1, () => () => Run(number)) with { Times = (7, 6) });

    public void Dispose()
    {
        _ram.Dispose();
        _host.Dispose();
        _machine?.Dispose();
    }

    private static void Bind(IHost host, params PciAddress[] functions)
    {
        var binder = new DriverBinder(host.Sysfs, new MemoryBindingStore());
        if (binder.Apply(binder.PlanBind(functions, DriverClaim.VfioPci)) is { } refused)
            throw new InvalidOperationException($"the functions were not bound: {refused}");
    }

    private static IEnumerable<PciAddress> Functions()
    {
        using var machine = new SimulatedHost(Topology.ByName("intel-scalable"));
        using var host = IommuHost.Over(machine);
        _ = new PciBus(host.Sysfs).List(out PciFunction[] all);
        return [.. all.Where(static f => (f.Vendor, f.Device) is (0x1234, 0x11e8) && f.Group is not null).DistinctBy(static f => f.Group).Take(2).Select(static f => f.Address),
            all.First(static f => (f.Vendor, f.Device) is (0x1234, 0xa51d)).Address];
    }

    private double Run(string number)
    {
        _timed.Timed.Ticks = 0;
        var start = Stopwatch.GetTimestamp();
        using (var context = _host.OpenContext())
        {
            if (number is "4.1" or "4.2" or "4.3")
                TwoDevices(context, number);
            else
                UserTables(context, number);
        }

        return (double)(Stopwatch.GetTimestamp() - start) / _timed.Timed.Ticks;
    }

    private void TwoDevices(IommuContext context, string number)
    {
        using var dev1 = _host.OpenDevice(_first).Bind(context, cookie: 1);
        using var gpa = context.CreateAddressSpace();
        using var attached = dev1.Attach(gpa);
        using var ram = gpa.Map(_ram, 0, RamBytes, DmaAccess.ReadWrite, 0);
        using var dev2 = _host.OpenDevice(_second).Bind(context, cookie: 2);
        if (number == "4.3")
        {
            using var both = dev2.Attach(gpa);
            using var child = gpa.CreateChild();
            using var nested = dev2.Attach(child);
            using var one = child.Map(0x2000, 0x1000, Page, DmaAccess.ReadWrite);
            using var other = child.Map(0x3000, 0x5000, Page, DmaAccess.ReadWrite);
            return;
        }

        using (dev2.Attach(gpa))
        {
        }

        if (number == "4.1")
            return;
        using var giova = context.CreateAddressSpace();
        using var moved = dev2.Attach(giova);
        using var page = giova.Map(_ram, 0x1000, Page, DmaAccess.ReadWrite, 0x2000);
        using var mailbox = giova.Map(_ram, 0x5000, Page, DmaAccess.ReadWrite, 0x5000);
    }

    private void UserTables(IommuContext context, string number)
    {
        using var device = _host.OpenDevice(number == "4.4" ? _first : _pasid).Bind(context, cookie: 0xd1);
        using var gpa = context.CreateAddressSpace();
        using var attached = device.Attach(gpa);
        using var ram = gpa.Map(_ram, 0, RamBytes, DmaAccess.ReadWrite, 0);
        using var table = gpa.CreateUserTable(new UserTable(UserTableFormat.VtdFirstStage, 0x10_0000), number == "4.6");
        if (number == "4.4")
        {
            using var nested = device.Attach(table);
            table.Invalidate(0x2000, 0x6000);
            return;
        }

        using var process = device.Attach(table, 5);
        if (number == "4.5")
        {
            using var second = gpa.CreateUserTable(new UserTable(UserTableFormat.VtdFirstStage, 0x11_0000));
            using var other = device.Attach(second, 6);
            table.Invalidate(0x7f00_0000_1000, Page);
            return;
        }

        // The device's registers, docs/topology.md: PASID, ATS and PRI, address, length, offset, read. Nothing is mapped, and the guest says no.
        using var config = device.OpenConfigSpace();
        config.EnableBusMaster();
        using var registers = device.OpenBar(0);
        registers.Write32(0x08, (1u << 31) | 5);
        registers.Write32(0x0c, 1 | 2);
        registers.Write64(0x10, 0x7f00_0000_2000);
        registers.Write32(0x18, 8);
        registers.Write32(0x1c, 0);
        registers.Write32(0x20, 1);
        using var request = table.Faults!.ReadRequest(TimeSpan.FromSeconds(5)) ?? throw new InvalidOperationException("no page request came");
        request.Refuse();
    }
}
