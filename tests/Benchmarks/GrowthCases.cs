using System.Diagnostics;
using HwSim.Tests.Units;
using IommuFd;
using IommuFd.HwSim;
using IommuFd.HwSim.PageTables;
using IommuFd.HwSim.Units;
using DmaAccess = IommuFd.DmaAccess;
using DeviceAccess = IommuFd.HwSim.Units.DmaAccess;

namespace Benchmarks;

/// <summary>What an operation costs when there is much more of everything; and what an area costs in memory.</summary>
internal sealed class GrowthCases : IDisposable
{
    private const ulong Page = 4096;
    private readonly SimulatedHost _machine = new(Topology.ByName("intel"));
    private readonly IommuHost _host;
    private readonly IommuContext _context;
    private readonly DmaBuffer _memory;
    private readonly Ioas _ioas;
    private ulong _count, _random = 88172645463325252;

    public GrowthCases()
    {
        _host = IommuHost.Over(_machine);
        _context = _host.OpenContext();
        _memory = _host.AllocateBuffer(Page);
        _ioas = _context.AllocateIoas();
    }

    public static IEnumerable<Case> All(Func<GrowthCases> cases)
    {
        var once = (Rounds: 1, Repeats: 1);
        var some = (Rounds: 5, Repeats: 3);
        double few = double.MaxValue, fewDevices = double.MaxValue, fewPasids = double.MaxValue;
        yield return Case.Absolute(10, "bookkeeping per mapped area", "B", 128, () => cases().AreaBytes) with { Times = once };
        yield return Case.Absolute(16, "map and unmap among 1000 mappings", "ns", double.NaN, () => { var c = cases(); return () => few = Math.Min(few, c.Among(1000)); }) with { Times = some };
        yield return Case.Absolute(16, "the same among 100,000, against 1000", "x", double.NaN, () => { var c = cases(); return () => c.Among(100_000) / few; }) with { Times = some };
        yield return new Case(16, "the same among 10,000,000, against 1000; C: binary search", "search", "x", 1, () => { var c = cases(); return () => c.Among(10_000_000) / few; }) { Times = some };
        yield return Case.Absolute(16, "translation that misses every cache, 2 devices", "ns", double.NaN, () => { var run = Devices(2, 4096 * 4); return () => fewDevices = Math.Min(fewDevices, run()); }) with { Times = some };
        yield return Case.Absolute(16, "the same with 10,000 devices, against 2", "x", Math.Log2(10_000), () => { var run = Devices(10_000, 1); return () => run() / fewDevices; }) with { Times = some };
        yield return new Case(16, "translation that misses every cache, 10,000 devices; C: the loads alone", "devices", "ns", double.NaN, () => Devices(10_000, 1)) { Times = some };
        yield return Case.Absolute(16, "translation that misses every cache, 2 PASIDs", "ns", double.NaN, () => { var run = Pasids(2); return () => fewPasids = Math.Min(fewPasids, run()); }) with { Times = some };
        yield return Case.Absolute(16, "the same with 2^20 PASIDs, against 2", "x", 20, () => { var run = Pasids(1 << 20); return () => run() / fewPasids; }) with { Times = some };
        yield return new Case(16, "translation that misses every cache, 2^20 PASIDs; C: the loads alone", "pasids", "ns", double.NaN, () => Pasids(1 << 20)) { Times = some };
    }

    public void Dispose()
    {
        _context.Dispose();
        _memory.Dispose();
        _host.Dispose();
        _machine.Dispose();
    }

    private ulong Next()
    {
        _random ^= _random << 13;
        _random ^= _random >> 7;
        return _random ^= _random << 17;
    }

    // Mappings are at even pages from 1 MiB on; a new one goes between two of them.
    private static ulong Iova(ulong n) => (1UL << 32) + (n * 2 * Page);

    private double AreaBytes()
    {
        using var ioas = _context.AllocateIoas();
        const ulong n = 100_000;
        var before = GC.GetTotalMemory(forceFullCollection: true);
        for (ulong i = 0; i < n; i++)
            ioas.MapFixed(_memory.Address, Page, DmaAccess.ReadWrite, Iova(i));
        var after = GC.GetTotalMemory(forceFullCollection: true);
        GC.KeepAlive(ioas);
        return Math.Round((after - before) / (double)n);
    }

    private double Among(ulong mappings)
    {
        for (; _count < mappings; _count++)
            _ioas.MapFixed(_memory.Address, Page, DmaAccess.ReadWrite, Iova(_count));
        const int n = 500;
        var start = Stopwatch.GetTimestamp();
        for (var i = 0; i < n; i++)
        {
            var iova = Iova(Next() % mappings) + Page;
            _ioas.MapFixed(_memory.Address, Page, DmaAccess.ReadWrite, iova);
            _ = _ioas.Unmap(iova, Page);
        }

        return Stopwatch.GetElapsedTime(start).TotalNanoseconds / n;
    }

    // Two devices that are in one place of the caches push each other out.
    private static Func<double> Devices(int devices, int apart)
    {
        var memory = new PhysicalMemory(new PhysicalMemoryOptions { ArenaSize = 1UL << 30 });
        var unit = new VtdUnit(memory, new VtdOptions { ScalableMode = false, IoTlbLg2 = -1 });
        VtdCrowd.Devices(memory, unit, devices, apart);
        var next = 0;
        return () => Each(unit, () => next = (next + 7919) % devices, which => new DmaRequest((ushort)(which * apart), DmaRequest.NoPasid, 0x1234, DeviceAccess.Read));
    }

    private static Func<double> Pasids(int pasids)
    {
        var memory = new PhysicalMemory(new PhysicalMemoryOptions { ArenaSize = 1UL << 30 });
        var unit = new VtdUnit(memory, new VtdOptions { IoTlbLg2 = -1 });
        var table = new PageTable<VtdSecondStage>(memory, VtdSecondStage.Geometry(48, 46));
        _ = table.Map(0x1000, 0x7000, 0x1000, PageAttributes.Read);
        VtdCrowd.Pasids(memory, unit, table.Root);
        uint next = 0;
        var apart = pasids == 2 ? 1u << 16 : 1;
        return () => Each(unit, () => (int)(next = (next + 7919) % (uint)pasids), which => new DmaRequest(0x18, (uint)which * apart, 0x1234, DeviceAccess.Read));
    }

    private static double Each(VtdUnit unit, Func<int> next, Func<int, DmaRequest> request)
    {
        const int n = 2000;
        var start = Stopwatch.GetTimestamp();
        for (var i = 0; i < n; i++)
        {
            if (!unit.Translate(request(next()), out var translation))
                throw new InvalidOperationException($"reason 0x{translation.Reason:x}");
        }

        return Stopwatch.GetElapsedTime(start).TotalNanoseconds / n;
    }
}
