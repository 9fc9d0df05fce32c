using System.Runtime.InteropServices;
using IommuFd.HwSim;
using Xunit;

namespace HwSim.Tests.Memory;

public sealed unsafe class PhysicalMemoryTests : IDisposable
{
    private const ulong Size = 8 << 20;
    private readonly PhysicalMemory _memory = new(new PhysicalMemoryOptions { ArenaSize = 64 << 20 });
    private readonly byte* _user = (byte*)NativeMemory.AlignedAlloc((nuint)Size, 2 << 20);

    public void Dispose()
    {
        _memory.Dispose();
        NativeMemory.AlignedFree(_user);
    }

    [Fact]
    public void Allocated_pages_are_zero_aligned_and_at_the_same_addresses_in_two_memories()
    {
        using var other = new PhysicalMemory(new PhysicalMemoryOptions { ArenaSize = 64 << 20 });
        foreach (var lg2 in new[] { 12, 14, 12, 16, 13, 12, 21, 12 })
        {
            var address = _memory.Allocate(lg2);
            Assert.Equal(address, other.Allocate(lg2));
            Assert.Equal(0UL, address % (1UL << lg2));
            Assert.True(_memory.Read64(address, out var word));
            Assert.Equal(0UL, word);
        }
    }

    [Fact]
    public void A_freed_page_is_handed_out_again_and_zeroed()
    {
        var address = _memory.Allocate();
        _memory.Write64(address + 8, ulong.MaxValue);
        _memory.Free(address);
        Assert.Equal(address, _memory.Allocate());
        Assert.True(_memory.Read64(address, out var first) && first == 0);
        Assert.True(_memory.Read64(address + 8, out var word) && word == 0);
        Assert.Equal(4096UL, _memory.AllocatedBytes);
    }

    [Fact]
    public void A_freed_table_page_shows_nothing_present_to_a_unit_that_still_walks_it()
    {
        var a = _memory.Allocate();
        var b = _memory.Allocate();
        _memory.Free(a);
        _memory.Free(b);
        Assert.True(_memory.Read64(b, out var link));
        Assert.Equal(0UL, link & 0xfff);
    }

    [Fact]
    public void A_full_arena_gives_address_0()
    {
        using var small = new PhysicalMemory(new PhysicalMemoryOptions { ArenaSize = 2 << 20 });
        for (var i = 0; i < 512; i++)
            Assert.NotEqual(0UL, small.Allocate());
        Assert.Equal(0UL, small.Allocate());
        Assert.Equal(0UL, small.Allocate(14));
    }

    [Theory]
    [InlineData(0UL)]
    [InlineData(0xFFFF_FFFFUL)]
    [InlineData(0x1_0400_0000UL - 7)]
    [InlineData(0x40_0000_0000UL)]
    [InlineData(0x7FFF_FFFF_FFFFUL)]
    [InlineData(ulong.MaxValue)]
    [InlineData(ulong.MaxValue - 7)]
    public void An_access_outside_memory_is_refused(ulong address)
    {
        Assert.False(_memory.Read64(address, out var value));
        Assert.Equal(0UL, value);
        Assert.False(_memory.Write64(address, 1));
        Assert.False(_memory.Read8(address, out _) && address != 0x1_0400_0000UL - 7);
    }

    [Fact]
    public void Pinned_memory_is_the_user_s_memory_and_keeps_its_address_modulo_1_GiB()
    {
        Assert.True(_memory.Pin(_user, Size));
        Assert.True(_memory.TryGetRun(_user, Size, out var run));
        Assert.Equal(Size, run.Length);
        Assert.Equal((ulong)_user % (1 << 30), run.Address % (1 << 30));
        _user[4097] = 0x5a;
        Assert.True(_memory.Read8(run.Address + 4097, out var seen));
        Assert.Equal(0x5a, seen);
    }

    [Fact]
    public void A_page_that_was_pinned_twice_stays_until_it_is_unpinned_twice()
    {
        Assert.True(_memory.Pin(_user, Size));
        Assert.True(_memory.Pin(_user + 0x1000, 0x3000));
        _memory.TryGetRun(_user, Size, out var run);
        Assert.True(_memory.Unpin(_user, Size));
        Assert.False(_memory.Read8(run.Address, out _));
        Assert.True(_memory.Read8(run.Address + 0x1000, out _));
        Assert.False(_memory.Read8(run.Address + 0x4000, out _));
        Assert.True(_memory.Unpin(_user + 0x1000, 0x3000));
        Assert.False(_memory.Read8(run.Address + 0x1000, out _));
        Assert.False(_memory.Unpin(_user + 0x1000, 0x3000));
    }

    [Fact]
    public void A_part_of_what_was_pinned_at_once_can_be_unpinned()
    {
        Assert.True(_memory.Pin(_user, Size));
        _memory.TryGetRun(_user, Size, out var run);
        Assert.True(_memory.Unpin(_user + 0x5000, 0x2000));
        Assert.True(_memory.Read64(run.Address + 0x4ff8, out _));
        Assert.False(_memory.Read64(run.Address + 0x4ffc, out _));
        Assert.False(_memory.Read8(run.Address + 0x6fff, out _));
        Assert.True(_memory.Read8(run.Address + 0x7000, out _));
        Assert.True(_memory.Read8(run.Address + Size - 1, out _));
        Assert.True(_memory.Unpin(_user, 0x5000));
        Assert.True(_memory.Unpin(_user + 0x7000, Size - 0x7000));
    }

    [Fact]
    public void In_scattered_mode_every_page_has_a_frame_of_its_own()
    {
        using var memory = new PhysicalMemory(new PhysicalMemoryOptions { ArenaSize = 2 << 20, Scattered = true, Seed = 7 });
        Assert.True(memory.Pin(_user, 0x10000));
        ulong previous = 0;
        for (ulong offset = 0; offset < 0x10000; offset += 4096)
        {
            Assert.True(memory.TryGetRun(_user + offset, 0x10000 - offset, out var run));
            Assert.Equal(4096UL, run.Length);
            Assert.NotEqual(previous + 4096, run.Address);
            previous = run.Address;
            _user[offset] = (byte)(offset >> 12);
            Assert.True(memory.Read8(run.Address, out var value));
            Assert.Equal((byte)(offset >> 12), value);
        }
    }

    [Fact]
    public void A_copy_crosses_scattered_frames_and_stops_where_memory_ends()
    {
        using var memory = new PhysicalMemory(new PhysicalMemoryOptions { ArenaSize = 2 << 20 });
        memory.Attach(0x1000, _user, 0x1000);
        memory.Attach(0x2000, _user + 0x8000, 0x1000);
        var pattern = stackalloc byte[0x1800];
        for (var i = 0; i < 0x1800; i++)
            pattern[i] = (byte)(i * 7);
        Assert.Equal(0x1800UL, memory.CopyIn(0x1400, pattern, 0x1800));
        Assert.Equal(pattern[0], _user[0x400]);
        Assert.Equal(pattern[0xc00], _user[0x8000]);
        var back = stackalloc byte[0x1800];
        Assert.Equal(0x1800UL, memory.CopyOut(0x1400, back, 0x1800));
        Assert.True(new Span<byte>(pattern, 0x1800).SequenceEqual(new Span<byte>(back, 0x1800)));
        Assert.Equal(0x400UL, memory.CopyOut(0x2c00, back, 0x1800));
    }

    [Fact]
    public void Random_pins_and_unpins_agree_with_a_count_per_page()
    {
        var random = new Random(1);
        var counts = new int[Size / 4096];
        var pins = new List<(int First, int Count)>();
        _memory.Pin(_user, Size);
        _memory.TryGetRun(_user, Size, out var run);
        _memory.Unpin(_user, Size);
        for (var step = 0; step < 2000; step++)
        {
            if (random.Next(2) == 0 || pins.Count == 0)
            {
                var first = random.Next(counts.Length);
                var count = random.Next(4) == 0 ? counts.Length - first : random.Next(1, counts.Length - first + 1);
                Assert.True(_memory.Pin(_user + ((ulong)first * 4096), (ulong)count * 4096));
                pins.Add((first, count));
                for (var i = first; i < first + count; i++)
                    counts[i]++;
            }
            else
            {
                var index = random.Next(pins.Count);
                var (first, count) = pins[index];
                var part = random.Next(1, count + 1);
                Assert.True(_memory.Unpin(_user + ((ulong)first * 4096), (ulong)part * 4096));
                for (var i = first; i < first + part; i++)
                    counts[i]--;
                pins.RemoveAt(index);
                if (part < count)
                    pins.Add((first + part, count - part));
            }

            var page = random.Next(counts.Length);
            Assert.Equal(counts[page] > 0, _memory.Read8(run.Address + ((ulong)page * 4096), out _));
        }
    }
}
