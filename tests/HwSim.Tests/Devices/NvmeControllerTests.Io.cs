using IommuFd.HwSim.Units;
using Xunit;

namespace HwSim.Tests.Devices;

// Scatter gather lists and shadow doorbells: I/O queue pair 1 with 8 entries, its submission queue at IoSubmission and its completion queue behind
// it.
public sealed unsafe partial class NvmeControllerTests
{
    private const ulong IoSubmission = 0x100_8000, IoCompletion = 0x100_9000, List = 0x100_a000, Shadow = 0x100_c000, Events = 0x100_d000,
        Target = 0x101_0000;
    private const ulong Block = 0, BitBucket = 1UL << 60, Segment = 2UL << 60, Last = 3UL << 60;
    private uint _ioTail, _ioHead;

    public static TheoryData<string, ulong[], uint> Lists => new()
    {
        { "a data block", [Target, 1024 | Block], 0 },
        { "longer than the data", [Target, 9999 | Block], 0 },
        { "too short", [Target, 512 | Block], 0x0f },
        { "a last segment of two blocks", [List, 32 | Last, Target, 600 | Block, Target + 600, 424 | Block], 0 },
        { "a segment that leads to the last one", [List, 32 | Segment, Target, 512 | Block, List + 32, 16 | Last, Target + 512, 512 | Block], 0 },
        { "a bit bucket for what is not wanted", [List, 32 | Last, 0, 512 | BitBucket, Target + 512, 512 | Block], 0 },
        { "a last segment that goes on", [List, 32 | Last, Target, 512 | Block, List + 32, 16 | Last, Target + 512, 512 | Block], 0x0d },
        { "a segment that leads nowhere", [List, 32 | Segment, Target, 512 | Block, Target + 512, 512 | Block], 0x0d },
        { "a segment descriptor in the middle", [List, 48 | Segment, List + 48, 16 | Last, Target, 512 | Block, Target + 512, 512 | Block], 0x0d },
        { "a segment that is no number of descriptors", [List, 24 | Last, Target, 1024 | Block], 0x0d },
        { "an unknown type", [Target, 1024 | (5UL << 60)], 0x11 },
        { "an unknown sub type", [Target, 1024 | (1UL << 56)], 0x11 },
        { "memory that is not there", [0xf_0000_0000, 1024 | Block], 0x04 },
        { "a list that is not there", [0xf_0000_0000, 16 | Last], 0x04 },
    };

    [Theory]
    [MemberData(nameof(Lists))]
    public void Scatter_gather_list(string what, ulong[] descriptors, uint status)
    {
        Assert.NotEmpty(what);
        CreateIoQueue();
        for (ulong i = 0; i < 128; i++)
        {
            Put64(Data + (8 * i), 0x1000 + i);
        }

        Assert.Equal(0u, Io(1, Data, 1024 | Block));
        for (int i = 2; i < descriptors.Length; i++)
        {
            Put64(List + (8 * (ulong)(i - 2)), descriptors[i]);
        }

        Assert.Equal(status, Io(2, descriptors[0], descriptors[1]));
        if (status == 0)
        {
            Assert.Equal(what.StartsWith("a bit bucket", StringComparison.Ordinal) ? 0ul : 0x1000, Get64(Target));
            Assert.Equal(0x107ful, Get64(Target + 1016));
        }
    }

    [Fact]
    public void A_bit_bucket_cannot_be_written()
    {
        CreateIoQueue();
        Assert.Equal(0x11u, Io(1, 0, 1024 | BitBucket));
    }

    [Fact]
    public void Shadow_doorbells_say_where_the_next_ring_is_wanted()
    {
        CreateIoQueue();
        Assert.Equal(0u, Io(1, Data, 1024));
        Assert.Equal(0x002u, Admin(0x7c, prp1: Shadow + 8));
        Assert.Equal(0u, AdminDoorbells());
        Assert.Equal(1u, Get32(Shadow + 8));

        // Three commands in memory, one ring: the controller finds them all and wants to hear of the next.
        for (int i = 0; i < 3; i++)
        {
            PutIo(0, 0, 0);
        }

        Put32(Shadow + 8, _ioTail);
        Write(0x1008, 2);
        Assert.Equal(4u, Get32(Events + 8));
        Assert.Equal(0u, TakeIo());
        Assert.Equal(0u, TakeIo());
        Assert.Equal(0u, TakeIo());
        Put32(Shadow + 12, _ioHead);

        // A head that is only in memory makes room too.
        for (int i = 0; i < 7; i++)
        {
            PutIo(0, 0, 0);
        }

        Put32(Shadow + 8, _ioTail);
        Write(0x1008, _ioTail);
        for (int i = 0; i < 7; i++)
        {
            Assert.Equal(0u, TakeIo());
        }
    }

    private void CreateIoQueue()
    {
        Enable();
        Assert.Equal(0u, Admin(0x05, 0x0007_0001, 1, prp1: IoCompletion));
        Assert.Equal(0u, Admin(0x01, 0x0007_0001, 0x0001_0001, prp1: IoSubmission));
    }

    private uint AdminDoorbells() => Admin(0x7c, prp1: Shadow, prp2: Events);

    private uint Io(byte opcode, ulong address, ulong descriptor)
    {
        PutIo(opcode, address, descriptor);
        Write(0x1008, _ioTail);
        uint status = TakeIo();
        Write(0x100c, _ioHead);
        return status;
    }

    // Two blocks from 5 on.
    private void PutIo(byte opcode, ulong address, ulong descriptor)
    {
        uint* entry = stackalloc uint[16];
        new Span<uint>(entry, 16).Clear();
        entry[0] = opcode | (opcode == 0 ? 0 : 0x4000u) | 0x55_0000u;
        entry[1] = 1;
        *(ulong*)(entry + 6) = address;
        *(ulong*)(entry + 8) = descriptor;
        entry[10] = 5;
        entry[12] = 1;
        // SAFETY: 64 bytes on this stack.
        Assert.Equal(64u, _memory.CopyIn(IoSubmission + (64 * _ioTail), entry, 64));
        _ioTail = (_ioTail + 1) % 8;
    }

    private uint TakeIo()
    {
        uint word = Get32(IoCompletion + (16 * _ioHead) + 12);
        Assert.Equal(0x55u, word & 0xffff);
        Put32(IoCompletion + (16 * _ioHead) + 12, word & ~0xffffu);
        _ioHead = (_ioHead + 1) % 8;
        return word >> 17 & 0x7ff;
    }

    private void Put64(ulong address, ulong value) => Assert.True(_memory.Write64(address, value));

    private void Put32(ulong address, uint value) => Assert.True(_memory.Write32(address, value));

    private ulong Get64(ulong address)
    {
        Assert.True(_memory.Read64(address, out ulong value));
        return value;
    }

    private uint Get32(ulong address) => (uint)(Get64(address & ~7UL) >> (int)(8 * (address & 4)));
}
