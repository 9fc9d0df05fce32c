using System.Collections.Concurrent;
using IommuFd.Native;

namespace IommuFd.Tests;

/// <summary>Memory that devices are given, and where they see it.</summary>
public sealed class MemoryTests : IDisposable
{
    private readonly Simulated _machine = new();
    private readonly IommuContext _context;
    private readonly IoAddressSpace _space;

    public MemoryTests()
    {
        _context = _machine.Host.OpenContext();
        _space = _context.CreateAddressSpace();
    }

    public void Dispose()
    {
        _space.Dispose();
        _context.Dispose();
        _machine.Dispose();
    }

    [Fact]
    public void A_process_address_has_its_IOVA_and_an_IOVA_its_mapping()
    {
        using DmaBuffer first = _machine.Host.AllocateBuffer(0x4000), second = _machine.Host.AllocateBuffer(0x1000);
        using Mapping one = _space.Map(first, DmaAccess.ReadWrite), two = _space.Map(second, DmaAccess.Read);
        Assert.True(_space.TryGetIova(first.Address + 0x2345, out ulong iova));
        Assert.Equal(one.Iova + 0x2345, iova);
        Assert.True(_space.TryGetIova(second.Address, out iova));
        Assert.Equal(two.Iova, iova);
        Assert.Same(one, _space.FindMapping(one.Iova + 0x3fff));
        Assert.Null(_space.FindMapping(ulong.MaxValue));
        one.Dispose();
        Assert.False(_space.TryGetIova(first.Address, out _));
        Assert.Equal([two], _space.Mappings);
    }

    [Fact]
    public void The_lookup_agrees_with_a_plain_search_over_a_random_history()
    {
        Random random = new(5);
        using DmaBuffer pool = _machine.Host.AllocateBuffer(256 * 0x1000);
        List<Mapping> live = [];
        for (int i = 0; i < 600; i++)
        {
            if (live.Count > 0 && random.Next(3) == 0)
            {
                int at = random.Next(live.Count);
                live[at].Dispose();
                live.RemoveAt(at);
            }
            else
            {
                ulong page = (ulong)random.Next(256);
                if (!live.Any(m => m.Offset == page * 0x1000))
                {
                    live.Add(_space.Map(pool, page * 0x1000, 0x1000, DmaAccess.Read, null));
                }
            }

            nint probe = pool.Address + random.Next(256 * 0x1000);
            Mapping? expected = live.Find(m => (ulong)probe - m.Address < m.Length);
            Assert.Equal(expected is not null, _space.TryGetIova(probe, out ulong iova));
            Assert.Equal(expected is null ? 0 : expected.Iova + ((ulong)probe - expected.Address), iova);
        }

        live.ForEach(static m => m.Dispose());
        Assert.Empty(_space.Mappings);
    }

    [Fact]
    public void A_scatter_list_joins_what_follows_and_splits_what_is_too_long()
    {
        using DmaBuffer buffer = _machine.Host.AllocateBuffer(0x3000);
        using Mapping a = _space.Map(buffer, 0, 0x1000, DmaAccess.Read, 0x100000), b = _space.Map(buffer, 0x1000, 0x1000, DmaAccess.Read, 0x101000);
        using Mapping c = _space.Map(buffer, 0x2000, 0x1000, DmaAccess.Read, 0x900000);
        DmaSegment[] segments = new DmaSegment[8];
        Assert.Equal(2, _space.GetSegments(buffer.Address + 0x800, 0x2800, segments));
        Assert.Equal([new DmaSegment(0x100800, 0x1800), new DmaSegment(0x900000, 0x1000)], segments[..2]);
        Assert.Equal(4, _space.GetSegments(buffer.Address, 0x3000, segments, maximum: 0xc00) - 1);
        Assert.Equal(0x3000u, (ulong)segments[..5].Sum(static s => (long)s.Length));
        Assert.Equal(-1, _space.GetSegments(buffer.Address, 0x3001, segments));
        Assert.Equal(-1, _space.GetSegments(buffer.Address, 0x3000, segments.AsSpan(0, 1)));
    }

    [Fact]
    public void A_device_with_a_small_aperture_gets_IOVAs_inside_it_until_it_is_full()
    {
        IovaRange aperture = new(0x100000, 0x103fff);
        List<Mapping> mappings = [];
        using DmaBuffer buffer = _machine.Host.AllocateBuffer(0x1000);
        _ = _space.Ioas.MapFile(Memfd(out DmaBuffer memfd), 0, 0x1000, DmaAccess.Read, 0x101000); // known to the kernel only
        for (int i = 0; i < 3; i++)
        {
            mappings.Add(_space.MapWithin(buffer, DmaAccess.Read, aperture));
        }

        Assert.Equal([0x100000ul, 0x102000ul, 0x103000ul], mappings.Select(static m => m.Iova));
        Assert.Equal(FailureCause.NoIovaSpace, Assert.Throws<IommuFdException>(() => _space.MapWithin(buffer, DmaAccess.Read, aperture)).Cause);
        mappings.ForEach(static m => m.Dispose());
        memfd.Dispose();
    }

    [Fact]
    public void Foreign_memory_is_kept_alive_while_mapped()
    {
        using DmaBuffer owner = _machine.Host.AllocateBuffer(0x2000);
        Flag flag = new();
        DmaBuffer adopted = DmaBuffer.Adopt(owner.Address, 0x2000, flag);
        Mapping mapping = _space.Map(adopted, DmaAccess.Read);
        adopted.Dispose();
        Assert.False(flag.Disposed);
        mapping.Dispose();
        Assert.True(flag.Disposed);
        Assert.Throws<ArgumentException>(() => DmaBuffer.Adopt(owner.Address + 16, 0x1000, null));
    }

    [Fact]
    public void A_file_mapping_outlives_its_descriptor()
    {
        FileMapping mapping = _space.MapFile(Memfd(out DmaBuffer buffer), 0x1000, 0x1000, DmaAccess.ReadWrite);
        buffer.Dispose();
        Assert.Equal(0x1000u, mapping.Length);
        mapping.Dispose();
        Assert.False(_space.Ioas.TryUnmap(mapping.Iova, 0x1000, out _, out int errno));
        Assert.Equal(Errno.ENOENT, errno);
    }

    [Fact]
    public void A_buffer_says_which_pages_it_got()
    {
        using DmaBuffer buffer = _machine.Host.AllocateBuffer(5000, new DmaBufferOptions { PageSize = DmaBufferOptions.Page1G });
        Assert.Equal(0u, buffer.Length % buffer.PageSize);
        Assert.Equal(0u, (ulong)buffer.Address % buffer.PageSize);
        buffer.Span[^1] = 1;
        try
        {
            using DmaBuffer exact =
                _machine.Host.AllocateBuffer(5000, new DmaBufferOptions { PageSize = DmaBufferOptions.Page1G, AllowSmallerPages = false });
            Assert.Equal(DmaBufferOptions.Page1G, exact.PageSize);
        }
        catch (IommuFdException refused)
        {
            Assert.Equal(FailureCause.NoMemory, refused.Cause);
            Assert.Contains("vm.nr_hugepages", refused.Remedy, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Pinned_memory_survives_the_disposal_of_its_buffer()
    {
        DmaBuffer buffer = _machine.Host.AllocateBuffer(4096);
        using (System.Buffers.MemoryHandle handle = buffer.Memory.Slice(16).Pin())
        {
            buffer.Dispose();
            unsafe
            {
                *(int*)handle.Pointer = 42; // would be a fault otherwise
            }
        }
    }

    [Fact]
    public void A_pool_gives_every_block_once_and_allocates_nothing()
    {
        using DmaPool pool = DmaPool.Create(_space, 256, 64);
        HashSet<int> seen = [];
        DmaBlock[] blocks = new DmaBlock[pool.Count];
        for (int i = 0; i < pool.Count; i++)
        {
            blocks[i] = pool.Rent();
            Assert.True(seen.Add(blocks[i].Index));
            Assert.Equal(0u, blocks[i].Iova % 256);
            Assert.True(_space.TryGetIova(blocks[i].Address, out ulong iova) && iova == blocks[i].Iova);
            blocks[i].Span.Fill((byte)i);
        }

        Assert.False(pool.TryRent(out _));
        Assert.Throws<InvalidOperationException>(() => pool.Rent());
        Array.ForEach(blocks, block => pool.Return(block));

        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 1000; i++)
        {
            pool.Return(pool.Rent());
        }

        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    [Fact]
    public void Threads_never_share_a_block()
    {
        using DmaPool pool = DmaPool.Create(_space, 64, 64);
        ConcurrentDictionary<int, bool> held = new();
        Parallel.For(0, 4, _ =>
        {
            for (int i = 0; i < 5000; i++)
            {
                if (pool.TryRent(out DmaBlock block))
                {
                    Assert.True(held.TryAdd(block.Index, true));
                    Assert.True(held.TryRemove(block.Index, out bool _));
                    pool.Return(block);
                }
            }
        });
        int count = 0;
        while (pool.TryRent(out _))
        {
            count++;
        }

        Assert.Equal(pool.Count, count);
    }

    private MemFdHandle Memfd(out DmaBuffer buffer)
    {
        buffer = _machine.Host.AllocateBuffer(0x4000, new DmaBufferOptions { MemFd = true });
        return buffer.File!;
    }

    private sealed class Flag : IDisposable
    {
        internal bool Disposed { get; private set; }

        public void Dispose() => Disposed = true;
    }
}
