using IommuFd.HwSim;
using IommuFd.HwSim.PageTables;
using Xunit;

namespace HwSim.Tests.PageTables;

/// <summary>
/// Concrete cases with known answers: those of the kernel's own page-table tests, and entries worked out by hand from the data books.
/// </summary>
public sealed class PageTableVectorTests : IDisposable
{
    private const PageAttributes ReadWrite = PageAttributes.Read | PageAttributes.Write;
    private readonly PhysicalMemory _memory = new(new PhysicalMemoryOptions { ArenaSize = 64 << 20, AddressBits = 52 });

    public void Dispose() => _memory.Dispose();

    [Fact]
    public void AMD_v1_maps_the_range_that_once_hit_a_page_size_boundary_bug()
    {
        using var table = new PageTable<AmdV1>(_memory, AmdV1.Geometry(3, features: PageTableFeatures.DynamicTop));
        Assert.Equal(0, table.Map(0xfef8_0000, 0x2_08b9_5d00 << 4, 0x2_0000, ReadWrite));
        for (ulong offset = 0; offset < 0x2_0000; offset += 0x1000)
        {
            Assert.True(table.TryTranslate(0xfef8_0000 + offset, out var output));
            Assert.Equal((0x2_08b9_5d00UL << 4) + offset, output);
        }
    }

    [Fact]
    public void An_identity_map_over_table_boundaries_has_exactly_20_leaves()
    {
        using var table = new PageTable<VtdSecondStage>(_memory, VtdSecondStage.Geometry(48));
        const ulong start = 0x3fe400UL << 12, end = 0x4c0600UL << 12;
        Assert.Equal(0, table.Map(start, start, end - start, ReadWrite));
        var leaves = table.Walker.Leaves().ToList();
        Assert.Equal(20, leaves.Count);
        Assert.Equal([.. Enumerable.Repeat(21, 14), .. Enumerable.Repeat(30, 3), .. Enumerable.Repeat(21, 3)], leaves.Select(l => l.SizeLg2));
        Assert.Equal(start, leaves[0].Address);
        Assert.Equal(end, leaves[^1].Address + (1UL << leaves[^1].SizeLg2));
    }

    [Fact]
    public void A_root_grows_when_an_address_beyond_it_is_mapped()
    {
        using var table = new PageTable<AmdV1>(_memory, AmdV1.Geometry(3, features: PageTableFeatures.DynamicTop));
        Assert.Equal(0, table.Map(0x1000, 0x5000, 0x1000, ReadWrite));
        var root = table.Root;
        Assert.Equal(0, table.Map(1UL << 60, 0x7000, 0x1000, ReadWrite));
        Assert.NotEqual(root, table.Root);
        Assert.Equal(5, table.Geometry.TopLevel);
        Assert.True(table.TryTranslate(0x1000, out var output) && output == 0x5000);
        Assert.True(table.TryTranslate(1UL << 60, out output) && output == 0x7000);
    }

    [Fact]
    public void AMD_v1_walks_tables_that_skip_levels_and_refuses_addresses_that_were_skipped()
    {
        // A level 4 root whose first entry points straight to a level 1 table.
        var root = _memory.Allocate();
        var leafTable = _memory.Allocate();
        _memory.Write64(root, AmdV1.MakeTable(AmdV1.Geometry(4), 1, leafTable));
        _memory.Write64(leafTable + (5 * 8), 0x6000_0000_1234_5001);
        var walker = new PageTableWalker<AmdV1>(_memory, AmdV1.Geometry(4), root);
        Assert.True(walker.Translate(0x5678, WalkAccess.Read, out var result));
        Assert.Equal(0x1234_5678UL, result.Output);
        Assert.Equal(0, result.Level);
        Assert.False(walker.Translate(0x20_5678, WalkAccess.Read, out result));
        Assert.Equal(WalkFault.ReservedBits, result.Fault);
    }

    // 64 KiB at level 1: NextLevel 7, address bits 14:12 ones and bit 15 zero; 4 MiB at level 2: bits 20:12 ones, 21 zero.
    [Theory]
    [InlineData(0, 16, 0xABC0_0000UL, 0x6000_0000_ABC0_7E01)]
    [InlineData(0, 13, 0xABC0_2000UL, 0x6000_0000_ABC0_2E01)]
    [InlineData(1, 22, 0xABC0_0000UL, 0x6000_0000_ABDF_FE01)]
    [InlineData(0, 12, 0xABC0_1000UL, 0x6000_0000_ABC0_1001)]
    [InlineData(1, 21, 0xABC0_0000UL, 0x6000_0000_ABC0_0001)]
    public void AMD_v1_leaves(int level, int sizeLg2, ulong address, ulong expected)
    {
        var geometry = AmdV1.Geometry(4);
        Assert.True(AmdV1.TryEncode(geometry, ReadWrite, out var bits));
        var entry = AmdV1.MakeLeaf(geometry, level, sizeLg2, address, bits);
        Assert.Equal(expected, entry);
        Assert.Equal(sizeLg2, AmdV1.LeafSizeLg2(geometry, level, entry));
        Assert.Equal(address, AmdV1.LeafAddress(geometry, level, entry));
    }

    [Fact]
    public void VT_d_second_stage_entries()
    {
        var geometry = VtdSecondStage.Geometry(48);
        VtdSecondStage.TryEncode(geometry, ReadWrite, out var bits);
        Assert.Equal(0x1234_5003UL, VtdSecondStage.MakeLeaf(geometry, 0, 12, 0x1234_5000, bits));
        Assert.Equal(0x1220_0083UL, VtdSecondStage.MakeLeaf(geometry, 1, 21, 0x1220_0000, bits));
        Assert.Equal(0x1_4000_0083UL, VtdSecondStage.MakeLeaf(geometry, 2, 30, 0x1_4000_0000, bits));
        Assert.Equal(0x1234_5003UL, VtdSecondStage.MakeTable(geometry, 1, 0x1234_5000));
        VtdSecondStage.TryEncode(VtdSecondStage.Geometry(48, features: PageTableFeatures.ForceCoherent), PageAttributes.Read, out bits);
        Assert.Equal(0x801UL, bits);
    }

    [Fact]
    public void RISC_V_entries()
    {
        var geometry = RiscV64.Sv(39, features: PageTableFeatures.Contiguous);
        RiscV64.TryEncode(geometry, ReadWrite | PageAttributes.User | PageAttributes.Accessed | PageAttributes.Dirty, out var bits);
        Assert.Equal(0x2000_00D7UL, RiscV64.MakeLeaf(geometry, 0, 12, 0x8000_0000, bits));
        Assert.Equal(0x8000_0000_2000_20D7UL, RiscV64.MakeLeaf(geometry, 0, 16, 0x8000_0000, bits));
        Assert.Equal(0x2000_0401UL, RiscV64.MakeTable(geometry, 1, 0x8000_1000));
    }

    [Fact]
    public void Arm_entries()
    {
        var s1 = ArmStage1.Geometry(12, 48);
        ArmStage1.TryEncode(
            s1, ReadWrite | PageAttributes.User | PageAttributes.Coherent | PageAttributes.Execute | PageAttributes.Global, out var bits);
        Assert.Equal(0x8000_0747UL, ArmStage1.MakeLeaf(s1, 0, 12, 0x8000_0000, bits));
        Assert.Equal(0x8000_0745UL, ArmStage1.MakeLeaf(s1, 1, 21, 0x8000_0000, bits));
        Assert.Equal(0x0010_0000_8000_0747UL, ArmStage1.MakeLeaf(s1, 0, 16, 0x8000_0000, bits));
        var s2 = ArmStage2.Geometry(12, 40);
        ArmStage2.TryEncode(s2, ReadWrite | PageAttributes.Coherent | PageAttributes.Execute, out bits);
        Assert.Equal(0x8000_07FFUL, ArmStage2.MakeLeaf(s2, 0, 12, 0x8000_0000, bits));
        var lpa = ArmStage1.Geometry(16, 52, 52, PageTableFeatures.Address52);
        Assert.Equal(0x0000_1234_0000_9003UL, ArmStage1.MakeTable(lpa, 1, 0x9_1234_0000_0000));
    }

    [Theory]
    [InlineData(12, 39, 2)]
    [InlineData(12, 40, 2)] // two concatenated root tables
    [InlineData(12, 43, 2)] // sixteen
    [InlineData(12, 44, 3)]
    [InlineData(14, 40, 2)] // sixteen
    [InlineData(14, 41, 2)]
    [InlineData(16, 42, 1)]
    [InlineData(16, 46, 1)]
    [InlineData(16, 47, 2)]
    public void Arm_stage_2_roots_concatenate_up_to_sixteen_tables(int granule, int bits, int topLevel)
    {
        var geometry = ArmStage2.Geometry(granule, bits);
        Assert.Equal(granule == 14 && bits == 40 ? 1 : topLevel, geometry.TopLevel);
        using var table = new PageTable<ArmStage2>(_memory, geometry);
        var last = (1UL << bits) - (1UL << granule);
        Assert.Equal(0, table.Map(last, 0, 1UL << granule, ReadWrite));
        Assert.True(table.Walker.Translate(last, WalkAccess.Write, out var result));
        Assert.Equal(0UL, result.Output);
    }

    [Fact]
    public void A_clone_has_the_same_pages_in_tables_of_its_own()
    {
        using var table = new PageTable<X64>(_memory, X64.Geometry(48));
        table.Map(0x7FFF_0000_0000, 0x1000, 0x60_3000, ReadWrite | PageAttributes.User);
        table.Map(0xFFFF_8000_0000_0000, 0x4000_0000, 0x4000_0000, PageAttributes.Read);
        using var clone = table.Clone();
        Assert.Equal(table.Walker.Leaves(), clone.Walker.Leaves());
        Assert.Equal(table.TableBytes, clone.TableBytes);
        table.Unmap(0x7FFF_0000_0000, 0x60_3000);
        Assert.True(clone.TryTranslate(0x7FFF_0000_0000, out _));
    }

    [Fact]
    public void A_dump_joins_runs_of_pages()
    {
        using var table = new PageTable<X64>(_memory, X64.Geometry(48));
        table.Map(0x1000, 0x5000, 0x3000, PageAttributes.Read);
        using var text = new StringWriter();
        table.Walker.Dump(text);
        Assert.Equal("0x0000000000001000-0x0000000000003fff -> 0x5000 3 x 2^12 level 0 Read\n", text.ToString());
    }

    [Fact]
    public void Explain_tells_every_entry_of_the_walk()
    {
        using var table = new PageTable<VtdSecondStage>(_memory, VtdSecondStage.Geometry(39));
        table.Map(0x4020_1000, 0x5000, 0x1000, PageAttributes.Read);
        var steps = table.Walker.Explain(0x4020_1008, WalkAccess.Write, out var result);
        Assert.Equal([(2, 1), (1, 1), (0, 1)], steps.Select(s => (s.Level, s.Index)));
        Assert.Equal(WalkFault.Write, result.Fault);
        Assert.Equal(EntryKind.Leaf, steps[^1].Kind);
    }

    [Fact]
    public void A_failed_allocation_leaves_the_table_as_it_was()
    {
        // The arena runs out after n tables, for every n that matters.
        for (var n = 1; n < 8; n++)
        {
            using var small = new PhysicalMemory(new PhysicalMemoryOptions { ArenaSize = 2 << 20 });
            using var table = new PageTable<VtdSecondStage>(small, VtdSecondStage.Geometry(48));
            for (var i = 1; i < 512 - n; i++)
                small.Allocate();
            var result = table.Map(0x3FE0_0000 - 0x1000, 0, 0x100_0000, ReadWrite);
            Assert.Equal(n < 8 ? -12 : 0, result);
            Assert.Empty(table.Walker.Leaves());
        }
    }

    [Fact]
    public void A_terabyte_of_1_GiB_pages_takes_three_tables()
    {
        using var table = new PageTable<VtdSecondStage>(_memory, VtdSecondStage.Geometry(48));
        Assert.Equal(0, table.Map(0, 0, 1UL << 40, ReadWrite));
        Assert.Equal(4096UL * 3, table.TableBytes);
        Assert.Equal(1024, table.Walker.Leaves().Count());
        Assert.Equal(1UL << 40, table.Unmap(0, 1UL << 40));
        Assert.Equal(4096UL, table.TableBytes);
    }

    [Fact]
    public void Mapping_and_unmapping_allocate_nothing()
    {
        using var table = new PageTable<VtdSecondStage>(_memory, VtdSecondStage.Geometry(48));
        void Run()
        {
            for (ulong i = 0; i < 1000; i++)
                table.Map(i * 0x1000, i * 0x3000, 0x1000, ReadWrite);
            for (ulong i = 0; i < 1000; i++)
                table.Unmap(i * 0x1000, 0x1000);
        }

        Run();
        var before = GC.GetAllocatedBytesForCurrentThread();
        Run();
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }
}
