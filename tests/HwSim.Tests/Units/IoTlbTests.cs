using IommuFd.HwSim;
using IommuFd.HwSim.PageTables;
using IommuFd.HwSim.Units;
using Xunit;

namespace HwSim.Tests.Units;

public sealed class IoTlbTests
{
    [Fact]
    public void An_entry_is_found_by_space_and_page_and_nothing_else()
    {
        var tlb = new IoTlb(6);
        tlb.Add(5, 0x1234_5678, 0xABCD_E678, 12, DmaAccess.Read, tlb.Generation);
        Assert.True(tlb.TryGet(5, 0x1234_5000, out var output, out var size, out var allowed));
        Assert.Equal((0xABCD_E000UL, 12, DmaAccess.Read), (output, size, allowed));
        Assert.False(tlb.TryGet(6, 0x1234_5000, out _, out _, out _));
        Assert.False(tlb.TryGet(5, 0x1234_6000, out _, out _, out _));
        Assert.False(tlb.TryGet(5, 0x1_1234_5000, out _, out _, out _));
        Assert.Equal(1, tlb.Count);
    }

    [Fact]
    public void A_walk_that_an_invalidation_overtook_leaves_nothing_behind()
    {
        var tlb = new IoTlb(6);
        var generation = tlb.Generation;
        tlb.Remove(99, 0xFFFF);
        tlb.Add(5, 0x1000, 0x2000, 12, DmaAccess.Read, generation);
        Assert.Equal(0, tlb.Count);
    }

    [Fact]
    public void A_random_history_agrees_with_a_list()
    {
        var tlb = new IoTlb(4);
        var random = new Random(9);
        var known = new Dictionary<(ulong Space, ulong Page), ulong>();
        for (var step = 0; step < 20_000; step++)
        {
            var space = (ulong)random.Next(4);
            var page = (ulong)random.Next(64) << 12;
            switch (random.Next(8))
            {
                case 0:
                    tlb.Remove(space, 3);
                    foreach (var key in known.Keys.Where(k => k.Space == space).ToList())
                        known.Remove(key);
                    break;
                case 1:
                    var last = page + 0x3FFF;
                    tlb.Remove(space, 3, page, last);
                    foreach (var key in known.Keys.Where(k => k.Space == space && k.Page >= page && k.Page <= last).ToList())
                        known.Remove(key);
                    break;
                case 2 or 3 or 4:
                    var output = (ulong)random.Next(1 << 20) << 12;
                    tlb.Add(space, page, output, 12, DmaAccess.Read, tlb.Generation);
                    known[(space, page)] = output;
                    break;
                default:
                    // It may have been evicted; what is there must be the latest.
                    if (tlb.TryGet(space, page, out var found, out _, out _))
                        Assert.Equal(known[(space, page)], found);
                    break;
            }
        }
    }

    [Fact]
    public void After_an_invalidation_no_thread_sees_the_old_translation()
    {
        using var memory = new PhysicalMemory(new PhysicalMemoryOptions { ArenaSize = 16 << 20 });
        using var table = new PageTable<VtdSecondStage>(memory, VtdSecondStage.Geometry(48, 46));
        var unit = new VtdUnit(memory, new VtdOptions { IoTlbLg2 = 4 });
        var root = memory.Allocate();
        var contexts = memory.Allocate();
        memory.Write64(root, contexts | 1);
        memory.Write64(contexts + (0x18 * 16), table.Root | 1);
        memory.Write64(contexts + (0x18 * 16) + 8, 2 | (5 << 8));
        unit.WriteRegister(VtdRegister.RTADDR, 8, root);
        unit.WriteRegister(VtdRegister.GCMD, 4, 0x4000_0000);
        unit.WriteRegister(VtdRegister.GCMD, 4, 0x8000_0000);

        // Page i maps to a frame of version v; the writer announces a version only after the invalidation, readers may then see that one or a later
        // one.
        const int pages = 32;
        var version = new long[pages];
        for (ulong i = 0; i < pages; i++)
            table.Map(i << 12, (i << 32) | 0, 0x1000, PageAttributes.Read);
        var stop = false;
        var wrong = 0L;
        var reads = 0L;
        var reader = new Thread(() =>
        {
            var random = new Random(2);
            while (!Volatile.Read(ref stop))
            {
                var page = random.Next(pages);
                var atLeast = Volatile.Read(ref version[page]);
                if (unit.Translate(new DmaRequest(0x18, DmaRequest.NoPasid, (ulong)page << 12, DmaAccess.Read), out var translation)
                    && ((long)(translation.Output >> 12 & 0xFFFFF) < atLeast || translation.Output >> 32 != (ulong)page))
                    wrong++;
                reads++;
            }
        });
        reader.Start();
        var changes = new Random(3);
        for (var v = 1; v < 4000; v++)
        {
            var page = changes.Next(pages);
            table.Unmap((ulong)page << 12, 0x1000);
            table.Map((ulong)page << 12, ((ulong)page << 32) | ((ulong)v << 12), 0x1000, PageAttributes.Read);
            unit.WriteRegister(VtdRegister.IVA, 8, (ulong)page << 12);
            unit.WriteRegister(VtdRegister.IOTLB, 8, (1UL << 63) | (3UL << 60) | (5UL << 32));
            Volatile.Write(ref version[page], v);
            if (v % 50 == 0)
                Thread.Yield();
        }

        Volatile.Write(ref stop, true);
        reader.Join();
        Assert.Equal(0, wrong);
        Assert.NotEqual(0, reads);
    }
}
