using IommuFd.HwSim;
using IommuFd.HwSim.Devices;
using IommuFd.HwSim.Devices.Ioat;
using IommuFd.HwSim.Units;
using Xunit;

namespace HwSim.Tests.Devices;

/// <summary>The copy engine's registers and descriptors, with physical addresses.</summary>
public sealed unsafe class IoatControllerTests : IDisposable
{
    private const ulong Chain = 0x100_0000, Completion = 0x100_1000, Source = 0x100_2000, Target = 0x100_4000, Base = 0x80;
    private const uint Copy = 0, Fill = 1u << 24, Write = 8, Null = 0x20;
    private readonly PhysicalMemory _memory = new(new PhysicalMemoryOptions { ArenaBase = 0x100_0000, ArenaSize = 2 << 20 });
    private readonly IoatController _ioat = new() { RequesterId = 0x48 };

    public IoatControllerTests()
    {
        _ioat.Unit = new NoIommuUnit(_memory);
        _ioat.WriteConfig(PciConfigSpace.Command, 2, 6);
        for (ulong at = 0; at < 8192; at += 8)
        {
            Assert.True(_memory.Write64(Source + at, at + 1));
        }

        Set(0x18, Completion, 8);
    }

    public void Dispose() => _memory.Dispose();

    [Fact]
    public void It_says_what_it_is()
    {
        Assert.Equal((4ul, 20ul, 0x33ul), (_ioat.ReadBar(0, 0, 1), _ioat.ReadBar(0, 1, 1), _ioat.ReadBar(0, 8, 1)));
        Assert.Equal((0x8086u, 0x2021u), (_ioat.ReadConfig(0, 2), _ioat.ReadConfig(2, 2)));
    }

    [Fact]
    public void A_channel_is_halted_after_reset_and_done_after_its_descriptors()
    {
        Assert.Equal(3ul, Get(8) & 7);
        Put(0, 4096, Copy | Write, Source, Target, Chain);
        Set(0x10, Chain, 8);
        Set(6, 1, 2);
        Assert.Equal(Chain | 1, Get(8));
        Assert.Equal(Chain | 1, Read(Completion));
        Assert.Equal(1ul, Read(Target));
        Set(4, 0x20, 1);
        Assert.Equal(3ul, Get(8));
        Assert.Equal(0ul, Get(4, 1));
    }

    [Fact]
    public void The_count_says_how_far_the_chain_is_followed()
    {
        for (int i = 0; i < 4; i++)
        {
            Put(i, 8, Copy, Source + (8 * (ulong)i), Target + (8 * (ulong)i), Chain + (64 * (ulong)((i + 1) % 4)));
        }

        Set(0x10, (uint)Chain, 4);
        Set(0x14, Chain >> 32, 4);
        Set(6, 2, 2);
        Assert.Equal((9ul, 0ul), (Read(Target + 8), Read(Target + 16)));
        Set(6, 2, 2);
        Assert.Equal(0ul, Read(Target + 16));
        Set(6, 3, 2);
        Assert.Equal((17ul, 0ul), (Read(Target + 16), Read(Target + 24)));
        Assert.Equal(Chain + 128, Get(8) & ~63ul);
    }

    [Fact]
    public void A_suspended_channel_starts_again_where_the_chain_address_says()
    {
        Put(0, 8, Copy, Source, Target, Chain);
        Set(0x10, Chain, 8);
        for (ulong i = 0; i < 3; i++)
        {
            Assert.True(_memory.Write64(Source, i + 50));
            Set(6, 1, 2);
            Assert.Equal(i + 50, Read(Target));
            Set(4, 4, 1);
            Assert.Equal(2ul, Get(8) & 7);
        }
    }

    [Theory]
    [InlineData(Copy, 0u, Source, Target, 0x800u)]
    [InlineData(Copy, (1u << 20) + 1, Source, Target, 0x800u)]
    [InlineData(0x42u << 24, 8u, Source, Target, 0x400u)]
    [InlineData(Copy, 8u, 0xf_0000_0000ul, Target, 0x100u)]
    [InlineData(Copy, 8u, Source, 0xf_0000_0000ul, 0x200u)]
    [InlineData(Fill, 8u, 0x77ul, Target, 0u)]
    [InlineData(Null, 0u, 0ul, 0ul, 0u)]
    public void An_error_halts_the_channel(uint control, uint size, ulong source, ulong target, uint error)
    {
        Put(0, size, control | Write, source, target, Chain);
        Set(0x10, Chain, 8);
        Set(6, 1, 2);
        Assert.Equal(error, (uint)Get(0x28, 4));
        Assert.Equal(error == 0 ? 1ul : 3, Get(8) & 7);
        Set(6, 2, 2);
        Assert.Equal(error == 0 ? 1ul : 3, Get(8) & 7);
        Set(0x28, error, 4);
        Assert.Equal(0ul, Get(0x28, 4));
    }

    [Fact]
    public void A_chain_address_that_is_not_aligned_or_not_memory_is_an_error()
    {
        Set(0x10, Chain + 32, 8);
        Set(6, 1, 2);
        Assert.Equal(0x10ul, Get(0x28, 4));
        Set(4, 0x20, 1);
        Set(0x10, 0xf_0000_0000, 8);
        Set(6, 1, 2);
        Assert.Equal(4ul, Get(0x28, 4));
    }

    private void Put(int index, uint size, uint control, ulong source, ulong target, ulong next)
    {
        ulong at = Chain + (64 * (ulong)index);
        Assert.True(_memory.Write64(at, size | ((ulong)control << 32)) && _memory.Write64(at + 8, source) && _memory.Write64(at + 16, target)
            && _memory.Write64(at + 24, next));
    }

    private ulong Read(ulong address)
    {
        Assert.True(_memory.Read64(address, out ulong value));
        return value;
    }

    private ulong Get(ulong register, int bytes = 8) => _ioat.ReadBar(0, Base + register, bytes);

    private void Set(ulong register, ulong value, int bytes) => _ioat.WriteBar(0, Base + register, bytes, value);
}
