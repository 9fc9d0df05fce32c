using IommuFd;
using static IgbDriver.IgbRegisters;

namespace IgbDriver;

/// <summary>A queue: 128 descriptors of 16 bytes, and a buffer of 2 KiB for each.</summary>
/// <remarks>Not for use by several threads.</remarks>
internal sealed class IgbRing(Bar registers, Mapping memory, ulong queue)
{
    /// <summary>Descriptors.</summary>
    public const uint Entries = 128;

    /// <summary>Bytes of a buffer.</summary>
    public const int BufferSize = 2048;

    /// <summary>Bytes of memory that a ring needs: a page of descriptors, then the buffers.</summary>
    public const ulong MemorySize = 4096 + (Entries * BufferSize);

    /// <summary>The next descriptor that is the driver's.</summary>
    public uint Next { get; set; }

    /// <summary>Tells the device where the ring is, and enables the queue.</summary>
    public void Start()
    {
        registers.Write32(queue + BaseLow, (uint)memory.Iova);
        registers.Write32(queue + BaseHigh, (uint)(memory.Iova >> 32));
        registers.Write32(queue + Length, Entries * 16);
        registers.Write32(queue + Head, 0);
        registers.Write32(queue + Tail, 0);
        if (queue == ReceiveQueue)
            registers.Write32(queue + Split, AdvancedOneBuffer);
        registers.Write32(queue + QueueControl, QueueEnable);
    }

    /// <summary>True when the device has taken its enabling over, which it does when receiver and transmitter are on.</summary>
    public bool IsEnabled => (registers.Read32(queue + QueueControl) & QueueEnable) != 0;

    /// <summary>The buffer of a descriptor.</summary>
    public Span<byte> Buffer(uint index) => memory.Buffer.Slice(4096 + (index * (ulong)BufferSize), BufferSize);

    /// <summary>The buffer's address for the device.</summary>
    public ulong Address(uint index) => memory.Iova + 4096 + (index * (ulong)BufferSize);

    /// <summary>Writes a descriptor; its last word holds the status that the device sets.</summary>
    public void Write(uint index, ulong address, ulong options)
    {
        memory.Buffer.At<ulong>(index * 16) = address;
        Volatile.Write(ref memory.Buffer.At<ulong>((index * 16) + 8), options);
    }

    /// <summary>The second half of a descriptor, as the device left it.</summary>
    public ulong Read(uint index) => Volatile.Read(ref memory.Buffer.At<ulong>((index * 16) + 8));

    /// <summary>Gives all descriptors before this one to the device.</summary>
    public void Give(uint tail)
    {
        Interlocked.MemoryBarrier(); // the descriptors are in memory before the device is told of them
        registers.Write32(queue + Tail, tail);
    }
}
