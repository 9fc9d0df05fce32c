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
        yield return new Case(3, "fill of 4 KiB leaves, 1 GiB", "fill-4K", "ns/page", 1.3, Fill);
        yield return Case.Absolute(3, "map 256 x 4 KiB, page-table layer", "ns", 500, () => Maps<VtdSecondStage>(VtdSecondStage.Geometry(48), 256 * 4096, map: true));
        foreach (var one in SinglePages())
            yield return one;
        yield return Case.Absolute(5, "map 256 GiB as 4 KiB", "ms", 500, () => Whole(0x1000)) with { Times = (5, 2) };
        yield return Case.Absolute(5, "map 256 GiB as 2 MiB", "ms", 2, () => Whole(0x20_1000));
        yield return Case.Absolute(5, "map 256 GiB as 1 GiB", "ms", 0.05, () => Whole(0x4020_1000));
        yield return new Case(6, "walk of a 2 MiB set", "walk-2M", "ns", 1.8, () => Walks<VtdSecondStage>(VtdSecondStage.Geometry(48, 48), 2 << 20));
        yield return new Case(6, "walk of a 1 GiB set", "walk-1G", "ns", 1.5, () => Walks<VtdSecondStage>(VtdSecondStage.Geometry(48, 48), GiB));
        foreach (var (name, prepare) in OtherWalks())
            yield return new Case(6, $"walk of a 2 MiB set, {name}", "walk-2M", "ns", double.NaN, prepare) { Times = (3, 3) };
        yield return Case.Absolute(6, "walk of two stages, 2 MiB set", "ns", 100, Nested);
        yield return new Case(7, "IOTLB hit, domain and PASID tag", "iotlb", "ns", 1.5, IoTlbHits);
        yield return Case.Absolute(7, "invalidation of one page, full IOTLB", "ns", 1000, Invalidations);
        yield return Case.Absolute(8, "DMA of 64 B", "ns", 12, () => Dma(64, 5000));
        yield return new Case(8, "DMA of 4 KiB", "copy-4K", "ns", 1 / 0.8, () => Dma(4096, 20_000));
        yield return new Case(8, "DMA of 64 KiB", "copy-64K", "ns", 1 / 0.95, () => Dma(65536, 500));
        yield return new Case(8, "DMA of 2 MiB", "copy-2M", "ns", 1 / 0.95, () => Dma(2 << 20, 500));
        yield return Case.Absolute(10, "table bytes over 8 a page, 256 GiB as 4 KiB", "x", 1.005, TableBytes) with { Times = (1, 1) };
    }

    private IEnumerable<(string, Func<Func<double>>)> OtherWalks()
    {
        yield return (X64.Name, () => Walks<X64>(X64.Geometry(48, 48), 2 << 20));
        yield return (AmdV1.Name, () => Walks<AmdV1>(AmdV1.Geometry(4, 48), 2 << 20));
        yield return (ArmStage1.Name, () => Walks<ArmStage1>(ArmStage1.Geometry(12, 48, features: 0), 2 << 20));
        yield return (ArmStage2.Name, () => Walks<ArmStage2>(ArmStage2.Geometry(12, 40, features: 0), 2 << 20));
        yield return (RiscV64.Name, () => Walks<RiscV64>(RiscV64.Sv(48, 48), 2 << 20));
    }

    private IEnumerable<Case> SinglePages()
    {
        foreach (var map in new[] { true, false })
        {
            Case Of(string format, Func<Func<double>> prepare) => Case.Absolute(4, $"{(map ? "map" : "unmap")} 4 KiB, {format}", "ns", map ? 70 : 85, prepare);
            yield return Of("vtd-ss", () => Maps<VtdSecondStage>(VtdSecondStage.Geometry(48), 4096, map));
            yield return Of("x86-64 (VT-d first stage, AMD v2)", () => Maps<X64>(X64.Geometry(48), 4096, map));
            yield return Of("amd-v1", () => Maps<AmdV1>(AmdV1.Geometry(4), 4096, map));
            yield return Of("arm-s1", () => Maps<ArmStage1>(ArmStage1.Geometry(12, 48, features: 0), 4096, map));
            yield return Of("arm-s2", () => Maps<ArmStage2>(ArmStage2.Geometry(12, 48, features: 0), 4096, map));
            yield return Of("riscv-sv", () => Maps<RiscV64>(RiscV64.Sv(48), 4096, map));
            yield return Of("riscv-sv32", () => Maps<RiscV32>(RiscV32.Sv32(), 4096, map));
        }
    }

    private static double Nanoseconds(long start, long operations) => Stopwatch.GetElapsedTime(start).TotalNanoseconds / operations;

    private static void Check(int result)
    {
        if (result != 0)
            throw new InvalidOperationException($"map returned {result}");
    }

    private Func<double> Walks<TFormat>(PageTableGeometry geometry, ulong size)
        where TFormat : struct, IPageTableFormat
    {
        var table = new PageTable<TFormat>(_memory, geometry with { PageSizes = 0x1000 });
        Check(table.Map(0, 1UL << 40, size, ReadWrite));
        var walker = table.Walker;
        return () => Walk(walker, size);
    }

    private double Walk<TFormat>(PageTableWalker<TFormat> walker, ulong size)
        where TFormat : struct, IPageTableFormat
    {
        const int n = 1_000_000;
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

    // The space has a domain, a PASID and a kind, as a first-stage translation of VT-d.
    private Func<double> IoTlbHits()
    {
        const ulong space = 5 | (8UL << 16) | (1UL << 40);
        var tlb = new IoTlb();
        for (ulong page = 0; page < 512; page++)
            tlb.Add(space, page << 12, (page << 12) + GiB, 12, DmaAccess.Read | DmaAccess.Write, tlb.Generation);
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
                if (tlb.TryGet(space, x & 0x1fffff, out var output, out _, out var allowed) && (allowed & DmaAccess.Read) != 0)
                    sum += output;
            }

            var time = Nanoseconds(start, n);
            _sum += sum;
            return time;
        };
    }

    // By register, as a driver does it: one page of one domain, with 4096 entries of another in the cache.
    private Func<double> Invalidations()
    {
        var unit = new VtdUnit(_memory, new VtdOptions { ScalableMode = false });
        for (ulong page = 0; page < 4096; page++)
            unit.IoTlb.Add(5, page << 12, (page << 12) + GiB, 12, DmaAccess.Read, unit.IoTlb.Generation);
        return () =>
        {
            const int n = 2000;
            var start = Stopwatch.GetTimestamp();
            for (ulong i = 0; i < n; i++)
            {
                unit.WriteRegister(VtdRegister.IVA, 8, i << 12);
                unit.WriteRegister(VtdRegister.IOTLB, 8, (1UL << 63) | (3UL << 60) | (6UL << 32));
            }

            return Nanoseconds(start, n);
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
        Check(second.Map(_memory.Options.ArenaBase, _memory.Options.ArenaBase, Math.Min(_memory.Options.ArenaSize, 4 * GiB), ReadWrite));
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
