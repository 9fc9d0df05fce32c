using IommuFd.HwSim;
using IommuFd.HwSim.PageTables;
using IommuFd.HwSim.Units;
using Xunit;

namespace HwSim.Tests.Units;

/// <summary>
/// Large guests, many devices, many PASIDs: memory is that of the tables. HWSIM_FULL=1 takes a terabyte instead of 64 GiB for 4 KiB pages.
/// </summary>
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
        using var memory =
            new PhysicalMemory(new PhysicalMemoryOptions { ArenaSize = 4UL << 30, PinnedBase = 1UL << 40, AddressBits = 46, HugeArena = true });
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
        const int devices = 10_000;
        VtdCrowd.Devices(memory, unit, devices, apart: 1);
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
        VtdCrowd.Pasids(memory, unit, table.Root);
        Assert.InRange(memory.AllocatedBytes, 64UL << 20, 65UL << 20);
        for (uint pasid = 0; pasid < 1 << 20; pasid += 7)
        {
            Assert.True(unit.Translate(new DmaRequest(0x18, pasid, 0x5123, DmaAccess.Read), out var translation));
            Assert.Equal(0x7123UL, translation.Output);
        }
    }
}
