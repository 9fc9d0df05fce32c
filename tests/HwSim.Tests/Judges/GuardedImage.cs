using IommuFd.HwSim;
using IommuFd.Native;

namespace HwSim.Tests.Judges;

/// <summary>
/// Physical memory that is one image between two pages that cannot be touched: an access outside ends the process, and with it the test.
/// </summary>
// SAFETY: the image is mapped with its exact size between two guard pages, and unmapped after the memory that refers to it.
internal sealed unsafe class GuardedImage : IDisposable
{
    private const nuint Page = 4096;
    private static readonly LinuxKernel Kernel = new();
    private readonly nint _mapping;
    private readonly nuint _size;

    internal GuardedImage(ulong address, int bytes)
    {
        Address = address;
        _size = (nuint)bytes + (2 * Page);
        _mapping = Kernel.Mmap(0, _size, 0, Libc.MAP_PRIVATE | Libc.MAP_ANONYMOUS, -1, 0);
        var inside = Kernel.Mmap(_mapping + (nint)Page, (nuint)bytes, Libc.PROT_READ | Libc.PROT_WRITE,
            Libc.MAP_PRIVATE | Libc.MAP_ANONYMOUS | Libc.MAP_FIXED, -1, 0);
        if (_mapping == -1 || inside == -1)
            throw new InvalidOperationException("There is no memory for the image.");
        Words = bytes / 8;
        Memory = new PhysicalMemory(
            new PhysicalMemoryOptions { AddressBits = 52, ArenaBase = 1UL << 50, ArenaSize = 2 << 20, PinnedBase = 1UL << 51 });
        Memory.Attach(address, (void*)inside, (ulong)bytes);
    }

    internal PhysicalMemory Memory { get; }

    internal ulong Address { get; }

    internal int Words { get; }

    /// <summary>The image as 64-bit words.</summary>
    internal Span<ulong> Content => new((void*)(_mapping + (nint)Page), Words);

    public void Dispose()
    {
        Memory.Dispose();
        _ = Kernel.Munmap(_mapping, _size);
    }
}
