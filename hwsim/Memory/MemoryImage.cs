using System.Runtime.InteropServices;

namespace IommuFd.HwSim;

/// <summary>Bytes that become physical memory at an address: a memory dump, or pieces of one.</summary>
// SAFETY: the bytes are copied into native memory of the same length, which lives until Dispose; PhysicalMemory checks every range against that
// length.
public sealed unsafe class MemoryImage : IDisposable
{
    private readonly List<nint> _blocks = [];

    /// <summary>Memory without anything in it, for dumps of up to 2^56 bytes: its own arena is out of the way at the top.</summary>
    public MemoryImage() => Memory = new PhysicalMemory(new PhysicalMemoryOptions
    {
        AddressBits = 56,
        PinnedBase = (1UL << 56) - (1UL << 30),
        ArenaBase = (1UL << 56) - (1UL << 30) - (2 << 20),
        ArenaSize = 2 << 20,
    });

    /// <summary>Physical memory with all that was added.</summary>
    public PhysicalMemory Memory { get; }

    /// <summary>Puts bytes at a physical address.</summary>
    /// <param name="address">Where the first byte is.</param>
    /// <param name="bytes">The bytes, at least one.</param>
    /// <returns>False when they are none, or overlap what is there, or do not lie below 2^56 - 1 GiB - 2 MiB.</returns>
    public bool TryAdd(ulong address, ReadOnlySpan<byte> bytes)
    {
        if (bytes.IsEmpty || address >= Memory.Options.ArenaBase || (ulong)bytes.Length > Memory.Options.ArenaBase - address)
            return false;
        var block = NativeMemory.AlignedAlloc((nuint)bytes.Length, 16);
        bytes.CopyTo(new Span<byte>(block, bytes.Length));
        try
        {
            Memory.Attach(address, block, (ulong)bytes.Length);
        }
        catch (ArgumentException)
        {
            NativeMemory.AlignedFree(block);
            return false;
        }

        _blocks.Add((nint)block);
        return true;
    }

    /// <summary>Gives the memory back.</summary>
    public void Dispose()
    {
        Memory.Dispose();
        foreach (var block in _blocks)
            NativeMemory.AlignedFree((void*)block);
        _blocks.Clear();
    }
}
