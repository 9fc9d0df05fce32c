using IommuFd.HwSim;
using IommuFd.HwSim.PageTables;
using IommuFd.HwSim.Units;
using Xunit;

namespace HwSim.Tests.Units;

/// <summary>Large guests, many devices, many PASIDs: memory is that of the tables. HWSIM_FULL=1 takes a terabyte instead of 64 GiB for 4 KiB pages.</summary>
public sealed class ScaleTests
{
    private static readonly bool Full = Environment.GetEnvironmentVariable("HWSIM_FULL") == "1";

    [Theory]
    [InlineData(12)]
    [InlineData(21)]
    [InlineData(30)]
    public void A_guest_takes_its_tables_and_no_more(int pageLg2)
    {
        var bytes = pageLg2 == 12 && !Full ? 64UL << 30 : 1UL << 40;
        using var memory = new PhysicalMemory(new PhysicalMemoryOptions { ArenaSize = 4UL << 30, PinnedBase = 1UL << 40, AddressBits = 46, HugeArena = true });
        var managed = GC.GetAllocatedBytesForCurrentThread();
        using var table = new PageTable<VtdSecondStage>(memory, VtdSecondStage.Geometry(48, 46, pageSizes: (1UL << pageLg2) | 0x1000));
        Assert.Equal(0, table.Map(0, 1UL << 41, bytes, PageAttributes.Read | PageAttributes.Write));
        var leaves = bytes >> pageLg2;
        var least = ((leaves + 511) / 512 + (leaves + (512 * 512) - 1) / (512 * 512) + 2) * 4096;
        Assert.InRange(table.TableBytes, leaves * 8, least + (2 * 4096));
        Assert.InRange(memory.HighWaterBytes, table.TableBytes, table.TableBytes + (table.TableBytes / 10) + 4096);
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - managed, 0, 100_000);
        var random = new Random(4);
        for (var i = 0; i < 1000; i++)
        {
            var address = (ulong)random.NextInt64((long)bytes);
            Assert.True(table.Walker.Translate(address, WalkAccess.Write, out var result));
            Assert.Equal((1UL << 41) + address, result.Output);
            Assert.Equal(pageLg2, result.SizeLg2);
        }

        Assert.Equal(bytes, table.Unmap(0, bytes));
        Assert.InRange(table.TableBytes, 4096UL, 8192UL);
    }

    [Fact]
    public void Ten_thousand_devices_with_a_domain_each()
    {
        using var memory = new PhysicalMemory(new PhysicalMemoryOptions { ArenaSize = 1UL << 30 });
        var unit = new VtdUnit(memory);
        var managed = GC.GetAllocatedBytesForCurrentThread();
        var root = memory.Allocate();
        const int devices = 10_000;
        for (var i = 0; i < devices; i++)
        {
            var rid = (ulong)i;
            memory.Read64(root + ((rid >> 8) * 16), out var contexts);
            if (contexts == 0)
            {
                contexts = memory.Allocate() | 1;
                memory.Write64(root + ((rid >> 8) * 16), contexts);
            }

            // One table, one page: 39 bits, page i.
            var top = memory.Allocate();
            memory.Write64(top, (((ulong)i << 30) & 0x3FFF_FFFF_FFFF) | 3 | (1 << 7));
            // A 1 GiB page per device directly in the top table.
            memory.Write64((contexts & ~0xFFFUL) + ((rid & 0xff) * 16), top | 1);
            memory.Write64((contexts & ~0xFFFUL) + ((rid & 0xff) * 16) + 8, 1 | ((ulong)(i + 1) << 8));
        }

        unit.WriteRegister(VtdRegister.RTADDR, 8, root);
        unit.WriteRegister(VtdRegister.GCMD, 4, 0x4000_0000);
        unit.WriteRegister(VtdRegister.GCMD, 4, 0x8000_0000);
        for (var pass = 0; pass < 2; pass++)
        {
            for (var i = 0; i < devices; i++)
            {
                Assert.True(unit.Translate(new DmaRequest((ushort)i, DmaRequest.NoPasid, 0x1234, DmaAccess.Read), out var translation));
                Assert.Equal((((ulong)i << 30) & 0x3FFF_FFFF_FFFF) + 0x1234, translation.Output);
            }
        }

        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - managed, 0, 16 << 20);
    }

    [Fact]
    public void A_million_PASIDs_of_one_device()
    {
        using var memory = new PhysicalMemory(new PhysicalMemoryOptions { ArenaSize = 1UL << 30 });
        var unit = new VtdUnit(memory);
        using var table = new PageTable<VtdSecondStage>(memory, VtdSecondStage.Geometry(48, 46));
        table.Map(0x5000, 0x7000, 0x1000, PageAttributes.Read);
        var root = memory.Allocate();
        var contexts = memory.Allocate();
        var directory = memory.Allocate(17);
        memory.Write64(root, contexts | 1);
        memory.Write64(contexts + (0x18 * 32), directory | 1 | 8 | (7 << 9));
        for (ulong i = 0; i < 1 << 14; i++)
        {
            var pasids = memory.Allocate();
            memory.Write64(directory + (i * 8), pasids | 1);
            for (ulong j = 0; j < 64; j++)
            {
                memory.Write64(pasids + (j * 64), table.Root | 1 | (2 << 2) | (2 << 6));
                memory.Write64(pasids + (j * 64) + 8, 5);
            }
        }

        Assert.InRange(memory.AllocatedBytes, 64UL << 20, 65UL << 20);
        unit.WriteRegister(VtdRegister.RTADDR, 8, root | (1 << 10));
        unit.WriteRegister(VtdRegister.GCMD, 4, 0x4000_0000);
        unit.WriteRegister(VtdRegister.GCMD, 4, 0x8000_0000);
        for (uint pasid = 0; pasid < 1 << 20; pasid += 7)
        {
            Assert.True(unit.Translate(new DmaRequest(0x18, pasid, 0x5123, DmaAccess.Read), out var translation));
            Assert.Equal(0x7123UL, translation.Output);
        }
    }
}
