using System.Numerics;
using IommuFd.HwSim;
using IommuFd.HwSim.PageTables;
using Xunit;

namespace HwSim.Tests.PageTables;

/// <summary>One format in one configuration; the tests are written once against this and run for each.</summary>
public abstract class FormatCase
{
    protected const PageAttributes ReadWrite = PageAttributes.Read | PageAttributes.Write | PageAttributes.User;

    public abstract void Every_page_size_maps_and_reads_back_at_the_edges_of_the_output_space();

    public abstract void The_tables_cover_exactly_the_advertised_addresses();

    public abstract void Every_item_of_a_page_translates_to_its_own_address();

    public abstract void Attributes_survive_decoding_and_encoding();

    public abstract void A_thousand_random_maps_and_unmaps_agree_with_a_dictionary();

    public abstract void Mapping_over_a_page_is_EADDRINUSE_and_changes_nothing();

    public abstract void Unmapping_the_start_of_a_large_page_removes_it_whole();

    public abstract void Mixed_sizes_use_the_largest_pages_possible();

    public abstract void A_large_page_takes_the_place_of_an_empty_table();

    public abstract void Reserved_and_random_entries_end_in_a_fault_or_a_translation_never_elsewhere(int cases);

    public abstract void A_quick_walk_and_one_field_by_field_have_the_same_outcome();

    public abstract void Dirty_state_is_read_and_cleared();
}

/// <summary>The tests, typed by format.</summary>
public sealed class FormatCase<TFormat>(string configuration, PageTableGeometry geometry) : FormatCase
    where TFormat : struct, IPageTableFormat
{
    private static PhysicalMemory NewMemory() => new(new PhysicalMemoryOptions { ArenaSize = 256 << 20, AddressBits = 52 });

    private readonly ulong _granule = geometry.PageSizes & (0 - geometry.PageSizes);

    private ulong OutputMask => (1UL << geometry.OutputBits) - 1;

    // The largest address that a test may use upwards from 0: sign-extended formats have half of the range there.
    private ulong LastLow => geometry.Has(PageTableFeatures.SignExtend) ? geometry.InputMask >> 1 : geometry.InputMask;

    public override string ToString() => $"{TFormat.Name} {configuration}";

    public override void Every_page_size_maps_and_reads_back_at_the_edges_of_the_output_space()
    {
        using var memory = NewMemory();
        using var table = new PageTable<TFormat>(memory, geometry);
        for (var sizes = table.PageSizes; sizes != 0; sizes &= sizes - 1)
        {
            var lg2 = BitOperations.TrailingZeroCount(sizes);
            var size = 1UL << lg2;
            if (size - 1 > LastLow || size - 1 > OutputMask)
                continue;
            foreach (var va in new ulong[] { 0, LastLow - (size - 1) })
            {
                foreach (var oa in new ulong[] { 0, OutputMask - (size - 1), size & OutputMask & ~(size - 1) })
                {
                    if ((oa & (size - 1)) != 0 || oa + (size - 1) > OutputMask)
                        continue;
                    Assert.Equal(0, table.Map(va, oa, size, ReadWrite));
                    Assert.True(table.Walker.Translate(va, WalkAccess.Write, out var result), $"2^{lg2} at 0x{va:x} to 0x{oa:x}: {result.Fault}");
                    Assert.Equal(oa, result.Output);
                    Assert.Equal(lg2, result.SizeLg2);
                    Assert.True(table.Walker.Translate(va + (size - 1), WalkAccess.Read, out result));
                    Assert.Equal(oa + (size - 1), result.Output);
                    Assert.Equal(size, table.Unmap(va, size));
                    Assert.False(table.Walker.Translate(va, WalkAccess.None, out _));
                }
            }
        }
    }

    public override void The_tables_cover_exactly_the_advertised_addresses()
    {
        using var memory = NewMemory();
        using var table = new PageTable<TFormat>(memory, geometry);
        Assert.Equal(0, table.Map(LastLow & ~(_granule - 1), 0, _granule, ReadWrite));
        Assert.True(table.Walker.Translate(LastLow, WalkAccess.Read, out _));
        if (LastLow == ulong.MaxValue)
            return;
        var expected = geometry.Has(PageTableFeatures.DynamicTop) ? 0 : -34;
        Assert.Equal(expected, table.Map(LastLow + 1, 0, _granule, ReadWrite));
        if (geometry.Has(PageTableFeatures.DynamicTop))
            return;
        Assert.False(table.Walker.Translate(LastLow + 1, WalkAccess.None, out var result));
        Assert.Equal(WalkFault.AddressTooWide, result.Fault);
        Assert.Equal(-34, table.Map(0, OutputMask + 1, _granule, ReadWrite));
        if (!geometry.Has(PageTableFeatures.SignExtend))
            return;
        Assert.Equal(0, table.Map(~LastLow, 0, _granule, ReadWrite));
        Assert.True(table.Walker.Translate(~LastLow, WalkAccess.Read, out _));
        Assert.Equal(0, table.Map(0 - _granule, _granule, _granule, ReadWrite));
        Assert.True(table.Walker.Translate(ulong.MaxValue, WalkAccess.Read, out result));
        Assert.Equal((2 * _granule) - 1, result.Output);
    }

    public override void Every_item_of_a_page_translates_to_its_own_address()
    {
        using var memory = NewMemory();
        using var table = new PageTable<TFormat>(memory, geometry);
        for (var sizes = table.PageSizes; sizes != 0; sizes &= sizes - 1)
        {
            var size = sizes & (0 - sizes);
            var va = size;
            var oa = (0x5_5555_5555_5555UL & OutputMask) & ~(size - 1);
            if (va + (size - 1) > LastLow || va + (size - 1) < va || oa + (size - 1) > OutputMask)
                continue;
            Assert.Equal(0, table.Map(va, oa, size, ReadWrite));
            var random = new Random((int)BitOperations.Log2(size));
            for (var i = 0; i < 64; i++)
            {
                var offset = (ulong)random.NextInt64() & (size - 1);
                Assert.True(table.Walker.Translate(va + offset, WalkAccess.Read, out var result));
                Assert.Equal(oa + offset, result.Output);
            }

            Assert.Equal(size, table.Unmap(va, size));
        }
    }

    public override void Attributes_survive_decoding_and_encoding()
    {
        for (uint bits = 0; bits < 2048; bits++)
        {
            var attributes = (PageAttributes)bits;
            if (!TFormat.TryEncode(geometry, attributes, out var encoded))
                continue;
            for (var level = 0; level <= geometry.TopLevel; level++)
            {
                for (var sizes = TFormat.LeafSizes(geometry, level) & geometry.PageSizes; sizes != 0; sizes &= sizes - 1)
                {
                    var lg2 = BitOperations.TrailingZeroCount(sizes);
                    if (lg2 > geometry.OutputBits)
                        continue;
                    var entry = TFormat.MakeLeaf(geometry, level, lg2, 0, encoded);
                    Assert.Equal(EntryKind.Leaf, TFormat.KindOf(geometry, level, entry));
                    Assert.Equal(0UL, TFormat.ReservedBits(geometry, level, entry));
                    Assert.Equal(lg2, TFormat.LeafSizeLg2(geometry, level, entry));
                    var decoded = TFormat.Attributes(geometry, level, entry);
                    Assert.True(TFormat.TryEncode(geometry, decoded, out var again));
                    Assert.Equal(entry, TFormat.MakeLeaf(geometry, level, lg2, 0, again));
                }
            }
        }
    }

    public override void A_thousand_random_maps_and_unmaps_agree_with_a_dictionary()
    {
        using var memory = NewMemory();
        var random = new Random(42);
        using (var table = new PageTable<TFormat>(memory, geometry))
        {
            // Areas by first address; the window is small enough for collisions and crosses table boundaries.
            var areas = new SortedDictionary<ulong, (ulong Length, ulong Output)>();
            var window = Math.Min(LastLow, (1UL << 34) - 1);
            var sizes = table.PageSizes;
            for (var step = 0; step < 1000; step++)
            {
                if (random.Next(3) != 0)
                {
                    var lg2 = random.Next(12, 32);
                    var length = ((ulong)random.NextInt64(1, 1L << lg2) + _granule) & ~(_granule - 1);
                    var align = random.Next(2) == 0 ? _granule : Math.Max(_granule, 1UL << random.Next(12, 31));
                    var va = (ulong)random.NextInt64() & window & ~(align - 1);
                    var oa = random.Next(2) == 0 ? va & OutputMask : (ulong)random.NextInt64() & OutputMask & ~(align - 1);
                    if (va + length - 1 > window || oa + length - 1 > OutputMask || length > 1UL << 31)
                        continue;
                    var collides = areas.Any(a => a.Key < va + length && va < a.Key + a.Value.Length);
                    Assert.Equal(collides ? -98 : 0, table.Map(va, oa, length, ReadWrite));
                    if (!collides)
                        areas.Add(va, (length, oa));
                }
                else if (areas.Count > 0)
                {
                    var (va, area) = areas.ElementAt(random.Next(areas.Count));
                    Assert.Equal(area.Length, table.Unmap(va, area.Length));
                    areas.Remove(va);
                }

                foreach (var (va, area) in areas.Skip(random.Next(areas.Count + 1)).Take(3))
                {
                    var offset = (ulong)random.NextInt64() % area.Length;
                    Assert.True(table.Walker.Translate(va + offset, WalkAccess.Read | WalkAccess.Write, out var result));
                    Assert.Equal(area.Output + offset, result.Output);
                    Assert.NotEqual(0UL, sizes >> result.SizeLg2 & 1);
                }

                var probe = (ulong)random.NextInt64() & window;
                Assert.Equal(areas.Any(a => a.Key <= probe && probe < a.Key + a.Value.Length), table.TryTranslate(probe, out _));
            }

            foreach (var (va, area) in areas)
                Assert.Equal(area.Length, table.Unmap(va, area.Length));
        }

        Assert.Equal(0UL, memory.AllocatedBytes);
    }

    public override void Mapping_over_a_page_is_EADDRINUSE_and_changes_nothing()
    {
        using var memory = NewMemory();
        using var table = new PageTable<TFormat>(memory, geometry);
        var va = _granule * Math.Min(1024, (LastLow / _granule) - 16);
        Assert.Equal(0, table.Map(va, _granule * 8, _granule, ReadWrite));
        Assert.Equal(-98, table.Map(va - (_granule * 3), 0, _granule * 8, ReadWrite));
        Assert.False(table.TryTranslate(va - _granule, out _));
        Assert.False(table.TryTranslate(va + _granule, out _));
        Assert.True(table.TryTranslate(va, out var output));
        Assert.Equal(_granule * 8, output);
        Assert.Equal(-22, table.Map(va + 1, 0, _granule, ReadWrite));
        Assert.Equal(-22, table.Map(va, 0, 0, ReadWrite));
        Assert.Equal(-22, table.Map(0, 0, _granule, PageAttributes.None));
    }

    public override void Unmapping_the_start_of_a_large_page_removes_it_whole()
    {
        using var memory = NewMemory();
        using var table = new PageTable<TFormat>(memory, geometry);
        for (var sizes = table.PageSizes & (table.PageSizes - 1); sizes != 0; sizes &= sizes - 1)
        {
            var size = sizes & (0 - sizes);
            if (size * 2 - 1 > LastLow || size * 2 == 0 || size - 1 > OutputMask)
                continue;
            Assert.Equal(0, table.Map(size, 0, size, ReadWrite));
            Assert.Equal(0UL, table.Unmap(size + _granule, _granule));
            Assert.Equal(size, table.Unmap(size, _granule));
            Assert.False(table.TryTranslate(size + size - 1, out _));
        }
    }

    public override void Mixed_sizes_use_the_largest_pages_possible()
    {
        using var memory = NewMemory();
        using var table = new PageTable<TFormat>(memory, geometry);
        var random = new Random(3);
        for (var i = 0; i < 60; i++)
        {
            var va = (ulong)random.NextInt64() & Math.Min(LastLow, (1UL << 33) - 1) & ~(_granule - 1);
            var shift = Math.Max(_granule, 1UL << random.Next(12, 34));
            var oa = (va ^ (shift * (ulong)random.Next(2))) & OutputMask;
            var length = (((ulong)random.NextInt64() & (i % 10 == 0 ? 0x7FFF_FFFFUL : 0xFF_FFFF)) + _granule) & ~(_granule - 1);
            if (va + length - 1 > LastLow || oa + length - 1 > OutputMask)
                continue;
            Assert.Equal(0, table.Map(va, oa, length, ReadWrite));
            for (ulong at = 0; at < length;)
            {
                // Brute force: the largest size that both addresses are aligned to and that still fits.
                var best = -1;
                for (var lg2 = 0; lg2 < 64; lg2++)
                {
                    var size = 1UL << lg2;
                    if ((table.PageSizes & size) != 0 && ((va + at) & (size - 1)) == 0 && ((oa + at) & (size - 1)) == 0 && size <= length - at)
                        best = lg2;
                }

                Assert.True(table.Walker.Translate(va + at, WalkAccess.Read, out var result));
                Assert.Equal(best, result.SizeLg2);
                at += 1UL << best;
            }

            Assert.Equal(length, table.Unmap(va, length));
        }
    }

    public override void A_large_page_takes_the_place_of_an_empty_table()
    {
        using var memory = NewMemory();
        using var table = new PageTable<TFormat>(memory, geometry);
        var large = table.PageSizes & (table.PageSizes - 1);
        for (; large != 0; large &= large - 1)
        {
            var size = large & (0 - large);
            if (size * 2 - 1 > LastLow || size * 2 == 0 || size - 1 > OutputMask)
                continue;
            Assert.Equal(0, table.Map(size + _granule, 0, _granule, ReadWrite));
            Assert.Equal(-98, table.Map(size, 0, size, ReadWrite));
            Assert.Equal(_granule, table.Unmap(size + _granule, _granule));
            Assert.Equal(0, table.Map(size, 0, size, ReadWrite));
            Assert.True(table.Walker.Translate(size, WalkAccess.Read, out var result));
            Assert.Equal(BitOperations.Log2(size), result.SizeLg2);
            Assert.Equal(size, table.Unmap(size, size));
        }
    }

    public override void Reserved_and_random_entries_end_in_a_fault_or_a_translation_never_elsewhere(int cases)
    {
        using var memory = new PhysicalMemory(new PhysicalMemoryOptions { ArenaSize = 2 << 20, AddressBits = 52 });
        var random = new Random(11);
        const int pages = 64;
        var root = memory.Allocate(18);
        var words = pages * 512;
        for (var i = 0; i < cases; i++)
        {
            // Rewrite a few words of the image: sometimes noise, sometimes a pointer back into the image (loops).
            for (var j = 0; j < 8; j++)
            {
                var at = root + ((ulong)random.Next(j < 4 ? 8 : words) * 8);
                var entry = random.Next(4) switch
                {
                    0 => (ulong)random.NextInt64() | ((ulong)random.NextInt64() << 1),
                    1 => TFormat.MakeTable(geometry, 1 + random.Next(geometry.TopLevel), root + ((ulong)random.Next(pages) * 4096)) ^ (
                        1UL << random.Next(64)),
                    _ => TFormat.MakeTable(geometry, 1 + random.Next(geometry.TopLevel), root + ((ulong)random.Next(pages) * 4096)),
                };
                memory.Write64(at, entry);
            }

            var va = random.Next(2) == 0 ? (ulong)random.NextInt64() & geometry.InputMask : (ulong)random.Next(1 << 16) << random.Next(48);
            var reader = new DirectTableReader(memory);
            var ok = TableWalk.Walk<TFormat, DirectTableReader>(geometry, root, ref reader, va, (WalkAccess)random.Next(256), out var result);
            Assert.Equal(ok, result.Fault == WalkFault.None);
            Assert.InRange(result.Level, 0, geometry.TopLevel);
            if (ok)
                Assert.Equal(0UL, result.Output >> geometry.OutputBits);
        }
    }

    // One bit of one table is flipped at a time; every walk is made both ways, for every kind of access, under rules that the table was made for and
    // others.
    public override void A_quick_walk_and_one_field_by_field_have_the_same_outcome()
    {
        using var memory = NewMemory();
        using var table = new PageTable<TFormat>(memory, geometry with { PageSizes = _granule });
        var random = new Random(17);
        var pages = Math.Min(40UL, LastLow / _granule / 2);
        Assert.Equal(0, table.Map(_granule * pages, 0, _granule * pages, ReadWrite | PageAttributes.Execute));
        var steps = table.Walker.Explain(_granule * pages, WalkAccess.Read, out _);
        var bytes = 1 << TFormat.EntrySizeLg2;
        WalkAccess[] rules =
        [
            WalkAccess.None, WalkAccess.UpdateAccessedDirty, WalkAccess.FaultOnClearAccessed,
            WalkAccess.FaultOnClearAccessed | WalkAccess.FaultOnClearDirty,
        ];
        for (var i = 0; i < 4000; i++)
        {
            var step = steps[random.Next(steps.Count)];
            var at = step.Level == 0 ? step.EntryAddress + ((ulong)random.NextInt64((long)pages) * (ulong)bytes) : step.EntryAddress;
            memory.Read64(at & ~7UL, out var before);
            var address = _granule * (pages + (ulong)random.NextInt64((long)pages)) + (ulong)random.NextInt64((long)_granule);
            var rule = rules[random.Next(rules.Length)];
            var access = (WalkAccess)random.Next(8) | (random.Next(8) == 0 ? (WalkAccess)random.Next(256) : rule);
            var flip = random.Next(3) == 0 ? 0 : 1UL << random.Next(64);
            memory.Write64(at & ~7UL, before ^ flip);
            var quickly = DirectTable.Of<TFormat>(memory, table.Geometry, table.Root, rule).Walk<TFormat>(address, access, out var quick);
            var reader = new DirectTableReader(memory);
            var slowly = TableWalk.Walk<TFormat, DirectTableReader>(table.Geometry, table.Root, ref reader, address, access, out var slow);
            Assert.True(slowly == quickly, $"flip 0x{flip:x} at level {step.Level}, access {access}, rules {rule}: {slow.Fault} level {slow.Level} "
                + $"but {quick.Fault} level {quick.Level}");
            Assert.Equal((slow.Fault, slow.Level, slow.SizeLg2, slow.Output, slow.EntryAddress),
                (quick.Fault, quick.Level, quick.SizeLg2, quick.Output, quick.EntryAddress));
            if ((access & WalkAccess.UpdateAccessedDirty) == 0)
                Assert.Equal((slow.Attributes, slow.Entry), (quick.Attributes, quick.Entry));
            if (flip != 0)
                memory.Write64(at & ~7UL, before);
        }
    }

    public override void Dirty_state_is_read_and_cleared()
    {
        var tracked = geometry with { Features = geometry.Features | PageTableFeatures.DirtyTracking };
        if (!TFormat.TryEncode(tracked, ReadWrite, out var bits) || TFormat.SetDirty(bits) == bits)
            return;
        using var memory = NewMemory();
        using var table = new PageTable<TFormat>(memory, tracked);
        var pages = 600UL;
        if (LastLow / _granule < 2048)
            return;
        Assert.Equal(0, table.Map(_granule * 1024, 0, _granule * pages, ReadWrite));
        var written = new HashSet<ulong>();
        var random = new Random(5);
        for (var i = 0; i < 40; i++)
        {
            var page = (ulong)random.NextInt64((long)pages);
            Assert.True(table.Walker.Translate(_granule * (1024 + page), WalkAccess.Write | WalkAccess.UpdateAccessedDirty, out var result));
            for (ulong j = 0; j < (1UL << result.SizeLg2) / _granule; j++)
                written.Add((page & ~(((1UL << result.SizeLg2) / _granule) - 1)) + j);
        }

        var bitmap = new ulong[(pages + 63) / 64];
        table.ReadDirty(_granule * 1024, _granule * pages, bitmap, _granule, clear: true);
        for (ulong page = 0; page < pages; page++)
            Assert.Equal(written.Contains(page), (bitmap[page / 64] >> (int)(page % 64) & 1) != 0);
        Array.Clear(bitmap);
        table.ReadDirty(_granule * 1024, _granule * pages, bitmap, _granule, clear: false);
        Assert.All(bitmap, word => Assert.Equal(0UL, word));
    }
}
