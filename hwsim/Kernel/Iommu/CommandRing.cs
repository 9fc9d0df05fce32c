namespace IommuFd.HwSim.Kernel;

/// <summary>A ring of 16-byte commands in memory that a unit reads: the command queue of AMD-Vi, SMMUv3 and the RISC-V IOMMU.</summary>
/// <remarks>The units run commands before the write of the tail returns, so there is always room.</remarks>
/// <param name="memory">Physical memory.</param>
/// <param name="lg2">log2 of the number of commands.</param>
internal sealed class CommandRing(PhysicalMemory memory, int lg2)
{
    private uint _next;

    /// <summary>Physical address of the ring.</summary>
    public ulong Address { get; } = memory.Allocate(lg2 + 4);

    /// <summary>Puts a command.</summary>
    /// <returns>Commands put so far, modulo 2^32: the producer index counts on.</returns>
    public uint Put(ulong low, ulong high)
    {
        var at = Address + ((ulong)(_next & ((1u << lg2) - 1)) * 16);
        memory.Write64(at, low);
        memory.Write64(at + 8, high);
        return ++_next;
    }
}
