using System.Diagnostics;
using System.Runtime.InteropServices;
using Conformance.Flows;
using IommuFd;
using IommuFd.HwSim;
using IommuFd.HwSim.Kernel;
using IommuFd.Native;
using IommuFd.Native.Uapi;
using IommuFd.Sysfs;
using static IommuFd.HwSim.Kernel.iommu_test_cmd;

namespace Benchmarks;

/// <summary>The flows of the proposal, section 4, in the library's model, each from opening to closing. baseline/kernel.c makes the same calls without a library.</summary>
internal sealed class FlowCases : IDisposable
{
    private const ulong Page = 4096;
    private const int InTurn = 8;
    private static readonly string[] s_numbers = ["4.1", "4.2", "4.3", "4.4", "4.5", "4.6"];
    private readonly IHost _machine;
    private readonly IommuHost _host;
    private readonly string _first, _second;
    private readonly Nesting _nesting;
    private readonly DmaBuffer _ram;

    private FlowCases(IHost machine, string first, string second, ulong memory, Nesting nesting)
    {
        _machine = machine;
        _host = IommuHost.Over(machine);
        (_first, _second, _nesting) = (first, second, nesting);
        _ram = _host.AllocateBuffer(memory, new DmaBufferOptions { PageSize = DmaBufferOptions.Page2M });
        _ram.Span.Clear();
    }

    /// <summary>What flows 4.4 to 4.6 need: a device with PASIDs, where its IOVAs begin, tables in its IOMMU's format, and how it is made to ask for a page.</summary>
    private sealed record Nesting(string Device, ulong Base, Func<ulong, UserTable> Table, Action<UserTableSpace> Invalidate, Action<BoundDevice, ulong> Ask);

    /// <summary>On a simulated machine, whose kernel answers in a hundredth of the time that the emulated one needs: for information.</summary>
    public static IEnumerable<Case> OnSimulator(Func<FlowCases> cases) =>
        s_numbers.Select(number => Case.Absolute(15, $"simulator: flow {number} from open to close", "us", double.NaN, () =>
        {
            var flows = cases();
            return () => flows.Run(number) / 1000;
        }));

    public static FlowCases Simulated()
    {
        var machine = new SimulatedHost(Topology.ByName("intel-scalable"));
        _ = new PciBus(machine.Sysfs).List(out PciFunction[] all);
        PciAddress[] edus = [.. all.Where(static f => (f.Vendor, f.Device) is (0x1234, 0x11e8) && f.Group is not null).DistinctBy(static f => f.Group).Take(2).Select(static f => f.Address)];
        var pasids = all.First(static f => (f.Vendor, f.Device) is (0x1234, 0xa51d)).Address;
        var binder = new DriverBinder(machine.Sysfs, new MemoryBindingStore());
        if (binder.Apply(binder.PlanBind([.. edus, pasids], DriverClaim.VfioPci)) is { } refused)
            throw new InvalidOperationException($"the functions were not bound: {refused}");
        var bus = new PciBus(machine.Sysfs);
        string Node(PciAddress address) => bus.Find(address)!.DeviceNode!;
        return new FlowCases(machine, Node(edus[0]), Node(edus[1]), 2 << 20, new Nesting(
            Node(pasids), 0, static at => new UserTable(UserTableFormat.VtdFirstStage, at), static table => table.Invalidate(0x2000, 0x6000), AskByRegisters));
    }

    /// <summary>On the real kernel: the character devices of two functions; for 4.4 to 4.6 the kernel's mock device, the only one at hand that nests.</summary>
    /// <param name="first">A device.</param>
    /// <param name="second">A device of another group.</param>
    /// <param name="memory">Bytes of memory that the guest has.</param>
    public static FlowCases OnKernel(string first, string second, ulong memory)
    {
        var machine = new MockDeviceHost(new LinuxHost());
        return new FlowCases(machine, first, second, memory, new Nesting(MockDeviceHost.Node, MOCK_APERTURE_START, MockTable, InvalidateMock, (device, address) =>
        {
            var ask = new iommu_test_cmd
            {
                trigger_iopf_dev_id = device.DeviceId, trigger_iopf_pasid = 5, trigger_iopf_grpid = 7, trigger_iopf_perm = 3, trigger_iopf_addr = address,
            };
            if (machine.Kernel.Test(iommu_test_op.IOMMU_TEST_OP_TRIGGER_IOPF, ref ask) < 0)
                throw new InvalidOperationException("the mock device could not ask for a page");
        }));
    }

    /// <summary>All of them beside C, which has the same devices in turn.</summary>
    /// <param name="note">What the names say of how it is measured.</param>
    public IEnumerable<Case> BesideC(string note) => s_numbers.Select(number =>
        new Case(15, $"real kernel: flow {number}, {note}", $"flow-{number}", "ns", 1.1, () => () => Run(number)) { Times = (5, 4) });

    public void Dispose()
    {
        _ram.Dispose();
        _host.Dispose();
        _machine.Dispose();
    }

    private static UserTable MockTable(ulong at)
    {
        iommu_hwpt_selftest data = new() { iotlb = IOMMU_TEST_IOTLB_DEFAULT };
        return UserTable.FromData(IOMMU_HWPT_DATA_SELFTEST, MemoryMarshal.AsBytes(new ReadOnlySpan<iommu_hwpt_selftest>(ref data)));
    }

    private static void InvalidateMock(UserTableSpace table) => table.InvalidateRaw(
        (iommu_hwpt_invalidate_data_type)IOMMU_HWPT_INVALIDATE_DATA_SELFTEST, new iommu_hwpt_invalidate_selftest { flags = IOMMU_TEST_INVALIDATE_FLAG_ALL });

    // The device's registers, docs/topology.md: PASID, ATS and PRI, address, length, offset, read.
    private static void AskByRegisters(BoundDevice device, ulong address)
    {
        using var config = device.OpenConfigSpace();
        config.EnableBusMaster();
        using var registers = device.OpenBar(0);
        registers.Write32(0x08, (1u << 31) | 5);
        registers.Write32(0x0c, 1 | 2);
        registers.Write64(0x10, address);
        registers.Write32(0x18, 8);
        registers.Write32(0x1c, 0);
        registers.Write32(0x20, 1);
    }

    // Some in a row, as C: between two programs' turns the caches change hands.
    private double Run(string number)
    {
        var start = Stopwatch.GetTimestamp();
        for (var i = 0; i < InTurn; i++)
        {
            using var context = _host.OpenContext();
            if (number is "4.1" or "4.2" or "4.3")
                TwoDevices(context, number);
            else
                UserTables(context, number);
        }

        return Stopwatch.GetElapsedTime(start).TotalNanoseconds / InTurn;
    }

    private void TwoDevices(IommuContext context, string number)
    {
        using var dev1 = _host.OpenDevice(_first).Bind(context, cookie: 1);
        using var gpa = context.CreateAddressSpace();
        using var attached = dev1.Attach(gpa);
        using var ram = gpa.Map(_ram, 0, _ram.Length, DmaAccess.ReadWrite, 0);
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
        using var device = _host.OpenDevice(_nesting.Device).Bind(context, cookie: 0xd1);
        using var gpa = context.CreateAddressSpace();
        using var attached = device.Attach(gpa);
        using var ram = gpa.Map(_ram, 0, _ram.Length, DmaAccess.ReadWrite, _nesting.Base);
        using var table = gpa.CreateUserTable(_nesting.Table(0x10_0000), number == "4.6");
        if (number == "4.4")
        {
            using var nested = device.Attach(table);
            _nesting.Invalidate(table);
            return;
        }

        using var process = device.Attach(table, 5);
        if (number == "4.5")
        {
            using var second = gpa.CreateUserTable(_nesting.Table(0x11_0000));
            using var other = device.Attach(second, 6);
            _nesting.Invalidate(table);
            return;
        }

        // Nothing is mapped there, and the guest says no.
        _nesting.Ask(device, 0x7f00_0000_2000);
        using var request = table.Faults!.ReadRequest(TimeSpan.FromSeconds(5)) ?? throw new InvalidOperationException("no page request came");
        request.Refuse();
    }
}
