using Xunit;

namespace HwSim.Tests.Kernel.Rfc;

/// <summary>Random maps and unmaps on three levels of software nesting, judged against the three maps looked up one after the other.</summary>
public sealed unsafe class ShadowSequenceTests
{
    private const ulong Page = RfcMachine.Page;
    private const int Pages = 24;

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    [Trait("rfc", "1.1-shadow-follows")]
    public void DMA_through_a_shadow_is_what_its_levels_say_after_every_step(int seed)
    {
        using var machine = new RfcMachine();
        var random = new Random(seed);
        int iommu = machine.OpenIommu(), device = machine.OpenBound(RfcMachine.Edu, iommu, 1);
        int[] levels = [machine.Alloc(iommu), 0, 0];
        levels[1] = machine.Alloc(iommu, levels[0]);
        levels[2] = machine.Alloc(iommu, levels[1]);
        ulong memory = machine.Memory(Pages * Page);
        for (ulong page = 0; page < Pages; page++)
        {
            *(ulong*)(memory + (page * Page)) = 1000 + page;
        }

        // For each level: which page of the level below a page leads to, and whether writing is allowed.
        var maps = new (int To, bool Write)?[3, Pages];
        var starts = new SortedDictionary<int, int>[] { [], [], [] };
        Assert.Equal(0, machine.Attach(device, iommu, levels[2]));
        for (int step = 0; step < 150; step++)
        {
            int level = random.Next(3), first = random.Next(Pages), count = random.Next(1, 5);
            count = Math.Min(count, Pages - first);
            if (random.Next(3) != 0)
            {
                int to = random.Next(Pages - count + 1);
                bool write = random.Next(2) == 0, free = Enumerable.Range(first, count).All(p => maps[level, p] is null);
                ulong address = ((ulong)to * Page) + (level == 0 ? memory : 0);
                int result = machine.Map(iommu, levels[level], (ulong)first * Page, address, (ulong)count * Page, write ? 3u : 1);
                Assert.Equal(free ? 0 : -17, result);
                if (free)
                {
                    starts[level][first] = count;
                    for (int i = 0; i < count; i++)
                    {
                        maps[level, first + i] = (to + i, write);
                    }
                }
            }
            else if (starts[level].Count != 0)
            {
                (int start, int length) = starts[level].ElementAt(random.Next(starts[level].Count));
                Assert.Equal((long)((ulong)length * Page), machine.Unmap(iommu, levels[level], (ulong)start * Page, (ulong)length * Page));
                starts[level].Remove(start);
                for (int i = 0; i < length; i++)
                {
                    maps[level, start + i] = null;
                }
            }

            for (int page = 0; page < Pages; page++)
            {
                (ulong? word, bool write) = LookUp(maps, page);
                Assert.Equal((seed, step, page, word), (seed, step, page, machine.DmaRead(RfcMachine.Edu, (ulong)page * Page)));
                Assert.Equal((seed, step, page, write), (seed, step, page, machine.DmaWrite(RfcMachine.Edu, ((ulong)page * Page) + 8, 1)));
            }
        }

        Assert.Equal(0, machine.Kernel.Close(device));
        Assert.Equal(0UL, machine.PinnedPages);
    }

    private static (ulong? Word, bool Write) LookUp((int To, bool Write)?[,] maps, int page)
    {
        bool write = true;
        for (int level = 2; level >= 0; level--)
        {
            if (maps[level, page] is not { } entry)
            {
                return (null, false);
            }

            (page, write) = (entry.To, write && entry.Write);
        }

        return (1000 + (ulong)page, write);
    }
}
