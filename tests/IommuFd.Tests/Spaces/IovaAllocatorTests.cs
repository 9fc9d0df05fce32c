namespace IommuFd.Tests;

public sealed class IovaAllocatorTests
{
    private static readonly IovaRange[] s_permitted = [new(0, 0xfedfffff), new(0xfef00000, ulong.MaxValue)];

    [Fact]
    public void Takes_the_lowest_aligned_range()
    {
        IovaAllocator allocator = new(s_permitted);
        Assert.True(allocator.TryAllocate(0x1000, 0x1000, out ulong first));
        Assert.True(allocator.TryAllocate(0x200000, 0x200000, out ulong second));
        Assert.True(allocator.TryAllocate(0x1000, 0x1000, out ulong third));
        Assert.Equal((0u, 0x200000u, 0x1000u), (first, second, third));
    }

    [Fact]
    public void Never_leaves_the_aperture_or_the_permitted_ranges()
    {
        IovaAllocator allocator = new(s_permitted, new IovaRange(0xfed00000, 0xffffffff));
        List<ulong> taken = [];
        while (allocator.TryAllocate(0x10000, 0x10000, out ulong iova))
        {
            taken.Add(iova);
        }

        Assert.Equal((0x100000 + 0x1100000) / 0x10000, taken.Count);
        Assert.DoesNotContain(taken, static iova => iova is >= 0xfee00000 and < 0xfef00000 or > 0xffff0000 or < 0xfed00000);
    }

    [Fact]
    public void The_top_of_the_address_space_can_be_taken_and_returned()
    {
        IovaAllocator allocator = new([new IovaRange(ulong.MaxValue - 0xfff, ulong.MaxValue)]);
        Assert.True(allocator.TryAllocate(0x1000, 0x1000, out ulong iova));
        Assert.Equal(ulong.MaxValue - 0xfff, iova);
        Assert.False(allocator.TryAllocate(1, 1, out _));
        allocator.Return(iova, 0x1000);
        Assert.Equal([new IovaRange(ulong.MaxValue - 0xfff, ulong.MaxValue)], allocator.Free);
    }

    [Fact]
    public void Returning_twice_is_refused()
    {
        IovaAllocator allocator = new(s_permitted);
        _ = allocator.TryAllocate(0x1000, 0x1000, out ulong iova);
        allocator.Return(iova, 0x1000);
        Assert.Throws<ArgumentException>(() => allocator.Return(iova, 0x1000));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void A_random_history_never_overlaps_and_ends_as_it_began(int seed)
    {
        Random random = new(seed);
        IovaAllocator allocator = new([new IovaRange(0, 0xffffff), new IovaRange(0x2000000, 0x2ffffff)]);
        List<IovaRange> taken = [];
        for (int i = 0; i < 3000; i++)
        {
            if (taken.Count > 0 && random.Next(100) < 48)
            {
                int at = random.Next(taken.Count);
                allocator.Return(taken[at].Start, taken[at].Last - taken[at].Start + 1);
                taken.RemoveAt(at);
            }
            else
            {
                ulong length = (ulong)random.Next(1, 64) << 12;
                if (allocator.TryAllocate(length, 1UL << random.Next(12, 18), out ulong iova))
                {
                    IovaRange range = new(iova, iova + length - 1);
                    Assert.DoesNotContain(taken, other => other.Start <= range.Last && range.Start <= other.Last);
                    taken.Add(range);
                }
            }
        }

        taken.ForEach(range => allocator.Return(range.Start, range.Last - range.Start + 1));
        Assert.Equal([new IovaRange(0, 0xffffff), new IovaRange(0x2000000, 0x2ffffff)], allocator.Free);
    }
}
