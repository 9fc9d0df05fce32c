using System.Diagnostics;
using System.Runtime.InteropServices;
using IommuFd.HwSim;
using IommuFd.HwSim.PageTables;
using IommuFd.HwSim.Units;

namespace Benchmarks;

/// <summary>The hot paths of hwsim: filling and walking tables, the IOTLB, DMA.</summary>
internal sealed unsafe class HardwareCases
{
    private const PageAttributes ReadWrite = PageAttributes.Read | PageAttributes.Write | PageAttributes.User;
    private const ulong GiB = 1UL << 30;
    private readonly PhysicalMemory _memory = new(new PhysicalMemoryOptions { ArenaSize = 4 * GiB, AddressBits = 48, HugeArena = true });
    private readonly byte* _buffer = (byte*)NativeMemory.AlignedAlloc(4 << 20, 4096);
    private ulong _sum;

    public HardwareCases() => NativeMemory.Fill(_buffer, 4 << 20, 1);

    public IEnumerable<Case> All()
    {
        var small = PageTableOf(2UL << 20);
        var large = PageTableOf(GiB);
        yield return new Case("walk of a 2 MiB set", "walk-2M", "ns", 1.8, () => Walks(small.Walker, 2 << 20));
        yield return new Case("walk of a 1 GiB set", "walk-1G", "ns", 1.5, () => Walks(large.Walker, GiB));
        yield return new Case("IOTLB hit", "iotlb", "ns", 1.5, IoTlbHits());
        yield return new Case("fill of 4 KiB leaves, 1 GiB", "fill-4K", "ns/page", 1.3, Fill());
        yield return new Case("DMA of 64 B", "copy-64", "ns", double.NaN, Dma(64, 5000));
        yield return new Case("DMA of 4 KiB", "copy-4K", "ns", 1 / 0.8, Dma(4096, 5000));
        yield return new Case("DMA of 64 KiB", "copy-64K", "ns", 1 / 0.95, Dma(65536, 500));
        yield return new Case("DMA of 2 MiB", "copy-2M", "ns", 1 / 0.95, Dma(2 << 20, 20));
        yield return new Case("DMA of 64 B, absolute", null, "ns", 12, Dma(64, 5000));
        yield return new Case("map 256 x 4 KiB", null, "ns", 500, Maps<VtdSecondStage>(VtdSecondStage.Geometry(48), 256 * 4096, map: true));
        foreach (var one in SinglePages())
            yield return one;
        yield return new Case("walk of two stages, 2 MiB set", null, "ns", 100, Nested());
        yield return new Case("map 256 GiB as 4 KiB", null, "ms", 500, Whole(0x1000));
        yield return new Case("map 256 GiB as 2 MiB", null, "ms", 2, Whole(0x20_1000));
        yield return new Case("map 256 GiB as 1 GiB", null, "ms", 0.05, Whole(0x4020_1000));
        yield return new Case("table bytes over 8 a page, 256 GiB as 4 KiB", null, "x", 1.005, TableBytes());
    }

    private IEnumerable<Case> SinglePages()
    {
        foreach (var map in new[] { true, false })
        {
            var what = map ? "map" : "unmap";
            var goal = map ? 70 : 85;
            yield return new Case($"{what} 4 KiB, vtd-ss", null, "ns", goal, Maps<VtdSecondStage>(VtdSecondStage.Geometry(48), 4096, map));
            yield return new Case($"{what} 4 KiB, x86-64", null, "ns", goal, Maps<X64>(X64.Geometry(48), 4096, map));
            yield return new Case($"{what} 4 KiB, amd-v1", null, "ns", goal, Maps<AmdV1>(AmdV1.Geometry(4), 4096, map));
            yield return new Case($"{what} 4 KiB, arm-s1", null, "ns", goal, Maps<ArmStage1>(ArmStage1.Geometry(12, 48, features: 0), 4096, map));
            yield return new Case($"{what} 4 KiB, arm-s2", null, "ns", goal, Maps<ArmStage2>(ArmStage2.Geometry(12, 48, features: 0), 4096, map));
            yield return new Case($"{what} 4 KiB, riscv-sv", null, "ns", goal, Maps<RiscV64>(RiscV64.Sv(48), 4096, map));
        }
    }

    private static double Nanoseconds(long start, long operations) => Stopwatch.GetElapsedTime(start).TotalNanoseconds / operations;

    private PageTable<VtdSecondStage> PageTableOf(ulong size)
    {
        var table = new PageTable<VtdSecondStage>(_memory, VtdSecondStage.Geometry(48, 48, pageSizes: 0x1000));
        Check(table.Map(0, 1UL << 40, size, ReadWrite));
        return table;
    }

    private static void Check(int result)
    {
        if (result != 0)
            throw new InvalidOperationException($"map returned {result}");
    }

    private double Walks(PageTableWalker<VtdSecondStage> walker, ulong size)
    {
        const int n = 200_000;
        ulong x = 88172645463325252, sum = 0;
        var start = Stopwatch.GetTimestamp();
        for (var i = 0; i < n; i++)
        {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            if (walker.Translate(x & (size - 1), WalkAccess.Read, out var result))
                sum += result.Output;
        }

        var time = Nanoseconds(start, n);
        _sum += sum;
        return time;
    }

    private Func<double> IoTlbHits()
    {
        var tlb = new IoTlb();
        for (ulong page = 0; page < 512; page++)
            tlb.Add(5, page << 12, (page << 12) + GiB, 12, DmaAccess.Read | DmaAccess.Write, tlb.Generation);
        return () =>
        {
            const int n = 200_000;
            ulong x = 88172645463325252, sum = 0;
            var start = Stopwatch.GetTimestamp();
            for (var i = 0; i < n; i++)
            {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                if (tlb.TryGet(5, x & 0x1fffff, out var output, out _, out var allowed) && (allowed & DmaAccess.Read) != 0)
                    sum += output;
            }

            var time = Nanoseconds(start, n);
            _sum += sum;
            return time;
        };
    }

    private Func<double> Fill()
    {
        var table = new PageTable<VtdSecondStage>(_memory, VtdSecondStage.Geometry(48, 48, pageSizes: 0x1000));
        return () =>
        {
            var start = Stopwatch.GetTimestamp();
            Check(table.Map(0, 1UL << 40, GiB, ReadWrite));
            var time = Nanoseconds(start, 262144);
            table.Unmap(0, GiB);
            return time;
        };
    }

    private Func<double> Dma(ulong bytes, int n)
    {
        var unit = new VtdUnit(_memory, new VtdOptions { ScalableMode = false });
        var root = _memory.Allocate();
        var contexts = _memory.Allocate();
        var target = _memory.Allocate(21);
        var table = new PageTable<VtdSecondStage>(_memory, VtdSecondStage.Geometry(48, 48));
        Check(table.Map(0, target, 2 << 20, ReadWrite));
        _memory.Write64(root, contexts | 1);
        _memory.Write64(contexts + (0x18 * 16), table.Root | 1);
        _memory.Write64(contexts + (0x18 * 16) + 8, 2 | (5 << 8));
        unit.WriteRegister(VtdRegister.RTADDR, 8, root);
        unit.WriteRegister(VtdRegister.GCMD, 4, 0x4000_0000);
        unit.WriteRegister(VtdRegister.GCMD, 4, 0x8000_0000);
        return () =>
        {
            var start = Stopwatch.GetTimestamp();
            for (var i = 0; i < n; i++)
                unit.Write(0x18, DmaRequest.NoPasid, 0, _buffer, bytes);
            return Nanoseconds(start, n);
        };
    }

    private Func<double> Maps<TFormat>(PageTableGeometry geometry, ulong bytes, bool map)
        where TFormat : struct, IPageTableFormat
    {
        var table = new PageTable<TFormat>(_memory, geometry with { OutputBits = 48 });
        Check(table.Map(0x4000_0000 - 0x20_0000, 0, 0x1000, ReadWrite));
        return () =>
        {
            const int n = 200;
            var start = Stopwatch.GetTimestamp();
            for (ulong i = 0; i < n && map; i++)
                Check(table.Map(0x4000_0000 + (i * bytes), 0x7000 + (i * 0x2000), bytes, ReadWrite));
            var time = Nanoseconds(start, n);
            for (ulong i = 0; i < n && !map; i++)
                Check(table.Map(0x4000_0000 + (i * bytes), 0x7000 + (i * 0x2000), bytes, ReadWrite));
            start = Stopwatch.GetTimestamp();
            for (ulong i = 0; i < n; i++)
                _sum += table.Unmap(0x4000_0000 + (i * bytes), bytes);
            return map ? time : Nanoseconds(start, n);
        };
    }

    private Func<double> Whole(ulong sizes)
    {
        var table = new PageTable<VtdSecondStage>(_memory, VtdSecondStage.Geometry(48, 48, pageSizes: sizes));
        return () =>
        {
            var start = Stopwatch.GetTimestamp();
            Check(table.Map(0, 0, 256 * GiB, ReadWrite));
            var time = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
            table.Unmap(0, 256 * GiB);
            return time;
        };
    }

    // Of a contiguous range: the tables above the leaves are the whole of the excess.
    private Func<double> TableBytes()
    {
        using var table = new PageTable<VtdSecondStage>(_memory, VtdSecondStage.Geometry(48, 48, pageSizes: 0x1000));
        Check(table.Map(0, 0, 256 * GiB, ReadWrite));
        var ratio = (double)table.TableBytes / (256 * GiB / 4096 * 8);
        return () => ratio;
    }

    private Func<double> Nested()
    {
        // A guest table at guest addresses equal to physical ones, over a second stage of 4 KiB pages.
        var unit = new SmmuV3Unit(_memory, new SmmuOptions { IoTlbLg2 = -1 });
        var second = new PageTable<ArmStage2>(_memory, ArmStage2.Geometry(12, 40, 48, 0) with { PageSizes = 0x1000 });
        var first = new PageTable<ArmStage1>(_memory, ArmStage1.Geometry(12, 48, 48, 0) with { PageSizes = 0x1000 });
        Check(first.Map(0, 1UL << 39, 2 << 20, ReadWrite));
        Check(second.Map(1UL << 39, 1UL << 36, 2 << 20, ReadWrite));
        Check(second.Map(_memory.Options.ArenaBase, _memory.Options.ArenaBase, 256 << 20, ReadWrite));
        var streams = _memory.Allocate(14);
        var descriptor = _memory.Allocate();
        Check(second.TryTranslate(first.Root, out _) && second.TryTranslate(descriptor, out _) ? 0 : -1);
        ulong[] entry = [1 | (7UL << 1) | descriptor, 0xd5, 9 | (24UL << 32) | (1UL << 38) | (5UL << 48) | (1UL << 51) | (1UL << 58), second.Root];
        for (var i = 0; i < 4; i++)
            _memory.Write64(streams + (0x18 * 64) + ((ulong)i * 8), entry[i]);
        _memory.Write64(descriptor, 16 | (1UL << 30) | (1UL << 31) | (5UL << 32) | (1UL << 41) | (7UL << 45));
        _memory.Write64(descriptor + 8, first.Root);
        unit.WriteRegister(SmmuRegister.STRTAB_BASE, 8, streams);
        unit.WriteRegister(SmmuRegister.STRTAB_BASE_CFG, 4, 8);
        unit.WriteRegister(SmmuRegister.CR0, 4, 1);
        return () =>
        {
            const int n = 50_000;
            ulong x = 88172645463325252, sum = 0;
            var start = Stopwatch.GetTimestamp();
            for (var i = 0; i < n; i++)
            {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                if (!unit.Translate(new DmaRequest(0x18, DmaRequest.NoPasid, x & 0x1fffff, DmaAccess.Read), out var translation))
                    throw new InvalidOperationException($"the nested walk ended in event {translation.Reason:x}");
                sum += translation.Output;
            }

            var time = Nanoseconds(start, n);
            _sum += sum;
            return time;
        };
    }
}
