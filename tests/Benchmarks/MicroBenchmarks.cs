using BenchmarkDotNet.Attributes;
using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Jobs;
using BenchmarkDotNet.Running;
using BenchmarkDotNet.Toolchains.InProcess.Emit;
using IommuFd.HwSim;
using IommuFd.HwSim.PageTables;
using IommuFd.HwSim.Units;

namespace Benchmarks;

/// <summary>
/// The calls that the table measures in loops, one by one under BenchmarkDotNet, which has the better statistics and counts allocations. It runs no C in between, so
/// ratios come from the table; and it runs in this process, because a program of its own would have to be restored and built.
/// </summary>
public class MicroBenchmarks
{
    private const ulong Space = 5 | (8UL << 16) | (1UL << 40), Set = 2 << 20;
    private const PageAttributes ReadWrite = PageAttributes.Read | PageAttributes.Write | PageAttributes.User;
    private readonly PhysicalMemory _memory = new(new PhysicalMemoryOptions { AddressBits = 48 });
    private readonly IoTlb _tlb = new();
    private LibraryCases _library = null!;
    private PageTable<VtdSecondStage> _table = null!;
    private PageTableWalker<VtdSecondStage> _walker = null!;
    private ulong _random = 88172645463325252;

    /// <summary>Runs the benchmarks whose names contain the filter.</summary>
    public static void Run(string filter) => BenchmarkSwitcher.FromTypes([typeof(MicroBenchmarks)]).Run(
        ["--filter", $"*{filter}*"],
        ManualConfig.Create(DefaultConfig.Instance).AddJob(Job.ShortRun.WithToolchain(InProcessEmitToolchain.Instance)).AddDiagnoser(BenchmarkDotNet.Diagnosers.MemoryDiagnoser.Default)
            .WithArtifactsPath(Path.Combine(Path.GetTempPath(), "iommufd-benchmarks")));

    [GlobalSetup]
    public void SetUp()
    {
        _library = new LibraryCases();
        _table = new PageTable<VtdSecondStage>(_memory, VtdSecondStage.Geometry(48, 48, pageSizes: 0x1000));
        if (_table.Map(0, 1UL << 40, Set, ReadWrite) != 0)
            throw new InvalidOperationException("the set was not mapped");
        _walker = _table.Walker;
        for (ulong page = 0; page < 512; page++)
            _tlb.Add(Space, page << 12, page << 12, 12, DmaAccess.Read, _tlb.Generation);
    }

    [GlobalCleanup]
    public void TearDown() => _library.Dispose();

    [Benchmark]
    public void Ioctl() => _library.Ioctl();

    [Benchmark]
    public void MapAndUnmap() => _library.MapAndUnmap();

    [Benchmark]
    public void MmioWriteAndRead() => _library.Register();

    [Benchmark]
    public void DmaAndInterrupt() => _library.DmaAndInterrupt();

    [Benchmark]
    public ulong MapAndUnmapPage() => _table.Map(1UL << 30, 0x7000, 4096, ReadWrite) == 0 ? _table.Unmap(1UL << 30, 4096) : 0;

    [Benchmark]
    public ulong Walk() => _walker.Translate(Next(), WalkAccess.Read, out var result) ? result.Output : 0;

    [Benchmark]
    public ulong IoTlbHit() => _tlb.TryGet(Space, Next(), out var output, out _, out _) ? output : 0;

    private ulong Next()
    {
        _random ^= _random << 13;
        _random ^= _random >> 7;
        _random ^= _random << 17;
        return _random & (Set - 1);
    }
}
