using System.Numerics;
using System.Runtime.CompilerServices;
using IommuFd.Native;

namespace IommuFd.HwSim;

/// <summary>
/// The physical address space of a simulated machine: an arena for table pages, user memory that was pinned, and RAM that was attached at a fixed
/// address.
/// Everything is host memory behind a pointer; an address where nothing is, is refused and never a crash.
/// </summary>
/// <remarks>
/// Does not model: memory types and caches, ECC, NUMA nodes, holes for MMIO (of a device's BARs only memory that was exported as a dma-buf is there).
/// Reading and writing may run on any number of threads; allocating, pinning and attaching take a lock.
/// </remarks>
// SAFETY (whole class): a pointer leaves this class only for a range that was checked to lie inside the arena, inside pinned pages or inside an
// attached range. The arena lives as long as this object. Pinned and attached memory belongs to whoever pinned it: the pin is the promise that it
// stays mapped.
public sealed unsafe partial class PhysicalMemory : IDisposable
{
    /// <summary>Bytes in a frame.</summary>
    public const ulong PageSize = 4096;

    private readonly Lock _gate = new();
    private readonly byte* _arena;
    private readonly ulong _arenaBase;
    private readonly ulong _arenaSize;
    private readonly byte* _arenaMapping;
    private readonly nuint _arenaMappingLength;
    private bool _disposed;

    /// <summary>Reserves the arena's address space; no memory is used until it is touched.</summary>
    /// <param name="options">Placement; null for the defaults.</param>
    /// <exception cref="ArgumentException">An address or a size in <paramref name="options"/> is misaligned or they overlap.</exception>
    /// <exception cref="InvalidOperationException">The host has no address space for the arena.</exception>
    public PhysicalMemory(PhysicalMemoryOptions? options = null)
    {
        Options = options ?? new PhysicalMemoryOptions();
        const ulong huge = 2 << 20;
        if (Options.ArenaBase % huge != 0 || Options.ArenaSize % huge != 0 || Options.ArenaSize == 0)
            throw new ArgumentException("The arena's base and size must be multiples of 2 MiB, the size not zero.", nameof(options));
        if (Options.AddressBits is < 36 or > 56)
            throw new ArgumentException("A physical address has 36 to 56 bits.", nameof(options));
        if (Options.PinnedBase % WindowSize != 0 || Options.PinnedBase >= 1UL << Options.AddressBits)
            throw new ArgumentException("Pinned memory must begin at a multiple of 1 GiB inside the address width.", nameof(options));
        if (Options.ArenaBase + Options.ArenaSize > Options.PinnedBase)
            throw new ArgumentException("The arena must end below pinned memory.", nameof(options));

        _arenaMappingLength = (nuint)(Options.ArenaSize + huge);
        var mapping = Libc.Mmap(0, _arenaMappingLength, Libc.PROT_READ | Libc.PROT_WRITE,
            Libc.MAP_PRIVATE | Libc.MAP_ANONYMOUS | Libc.MAP_NORESERVE, -1, 0);
        if (mapping == -1)
            throw new InvalidOperationException($"The host has no {Options.ArenaSize >> 20} MiB of address space for the arena; choose a"
                + " smaller ArenaSize.");
        _arenaMapping = (byte*)mapping;
        _arena = (byte*)(((nuint)mapping + (nuint)huge - 1) & ~(nuint)(huge - 1));
        _arenaBase = Options.ArenaBase;
        _arenaSize = Options.ArenaSize;
        if (Options.HugeArena)
            _ = Libc.Madvise((nint)_arena, (nuint)Options.ArenaSize, Libc.MADV_HUGEPAGE);
        _windows = new PinnedWindow?[64];
    }

    /// <summary>The placement this memory was made with.</summary>
    public PhysicalMemoryOptions Options { get; }

    /// <summary>
    /// The host pointer behind a physical range, or null when any byte of it is not memory or its bytes are not contiguous in the host.
    /// </summary>
    /// <param name="address">Physical address.</param>
    /// <param name="length">Bytes, at least 1.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public byte* TryGet(ulong address, ulong length)
    {
        var offset = address - _arenaBase;
        return offset < _arenaSize && length <= _arenaSize - offset ? _arena + offset : TryGetOutside(address, length);
    }

    /// <summary>The largest block at the arena's start whose address is a multiple of its size: table pages are in it until it is full.</summary>
    /// <param name="host">Host pointer of its first byte.</param>
    /// <param name="first">Physical address of its first byte.</param>
    /// <returns>Its bytes, a power of two from 2 MiB to 4 GiB.</returns>
    internal ulong ArenaBlock(out nint host, out ulong first)
    {
        host = (nint)_arena;
        first = _arenaBase;
        var size = 1UL << Math.Min(32, BitOperations.Log2(_arenaSize));
        return _arenaBase == 0 ? size : Math.Min(size, _arenaBase & (0 - _arenaBase));
    }

    /// <summary>As <see cref="TryGet"/>, for as many bytes as are contiguous in the host, up to <paramref name="length"/>.</summary>
    /// <param name="address">Physical address.</param>
    /// <param name="length">In: bytes wanted, at least 1. Out: bytes behind the pointer, 0 when nothing is there.</param>
    public byte* TryGetSome(ulong address, ref ulong length)
    {
        var whole = TryGet(address, length);
        if (whole != null)
            return whole;
        // The range crosses a boundary of placement: give the part up to the next frame.
        var toFrameEnd = Math.Min(length, PageSize - (address % PageSize));
        var part = TryGet(address, toFrameEnd);
        length = part == null ? 0 : toFrameEnd;
        return part;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private byte* TryGetOutside(ulong address, ulong length)
    {
        var pinned = TryGetPinned(address, length);
        return (nint)pinned < 0 ? null : pinned != null ? pinned : TryGetAttached(address, length);
    }

    /// <summary>Reads a byte.</summary>
    /// <param name="address">Physical address.</param>
    /// <param name="value">The byte; 0 when refused.</param>
    /// <returns>False when the address is not memory.</returns>
    public bool Read8(ulong address, out byte value)
    {
        var p = TryGet(address, 1);
        if (p != null)
        {
            value = *p;
            return true;
        }

        value = 0;
        return ReadRemote(address, Unsafe.AsPointer(ref value), 1);
    }

    /// <summary>Reads 16 bits, little-endian. Any alignment.</summary>
    /// <inheritdoc cref="Read8"/>
    public bool Read16(ulong address, out ushort value)
    {
        var p = TryGet(address, 2);
        if (p != null)
        {
            value = Unsafe.ReadUnaligned<ushort>(p);
            return true;
        }

        value = 0;
        return ReadRemote(address, Unsafe.AsPointer(ref value), 2);
    }

    /// <summary>Reads 32 bits, little-endian. Any alignment.</summary>
    /// <inheritdoc cref="Read8"/>
    public bool Read32(ulong address, out uint value)
    {
        var p = TryGet(address, 4);
        if (p != null)
        {
            value = Unsafe.ReadUnaligned<uint>(p);
            return true;
        }

        value = 0;
        return ReadRemote(address, Unsafe.AsPointer(ref value), 4);
    }

    /// <summary>Reads 64 bits, little-endian. Any alignment.</summary>
    /// <inheritdoc cref="Read8"/>
    public bool Read64(ulong address, out ulong value)
    {
        var p = TryGet(address, 8);
        if (p != null)
        {
            value = Unsafe.ReadUnaligned<ulong>(p);
            return true;
        }

        value = 0;
        return ReadRemote(address, Unsafe.AsPointer(ref value), 8);
    }

    /// <summary>Writes a byte.</summary>
    /// <param name="address">Physical address.</param>
    /// <param name="value">The byte.</param>
    /// <returns>False when the address is not memory; then nothing is written.</returns>
    public bool Write8(ulong address, byte value)
    {
        var p = TryGet(address, 1);
        if (p != null)
            *p = value;
        return p != null || WriteRemote(address, &value, 1);
    }

    /// <summary>Writes 16 bits, little-endian. Any alignment.</summary>
    /// <inheritdoc cref="Write8"/>
    public bool Write16(ulong address, ushort value)
    {
        var p = TryGet(address, 2);
        if (p != null)
            Unsafe.WriteUnaligned(p, value);
        return p != null || WriteRemote(address, &value, 2);
    }

    /// <summary>Writes 32 bits, little-endian. Any alignment.</summary>
    /// <inheritdoc cref="Write8"/>
    public bool Write32(ulong address, uint value)
    {
        var p = TryGet(address, 4);
        if (p != null)
            Unsafe.WriteUnaligned(p, value);
        return p != null || WriteRemote(address, &value, 4);
    }

    /// <summary>Writes 64 bits, little-endian. Any alignment.</summary>
    /// <inheritdoc cref="Write8"/>
    public bool Write64(ulong address, ulong value)
    {
        var p = TryGet(address, 8);
        if (p != null)
            Unsafe.WriteUnaligned(p, value);
        return p != null || WriteRemote(address, &value, 8);
    }

    /// <summary>Copies out of memory, across frames.</summary>
    /// <param name="address">Physical address of the first byte.</param>
    /// <param name="destination">Host memory of <paramref name="length"/> bytes.</param>
    /// <param name="length">Bytes.</param>
    /// <returns>Bytes copied: less than <paramref name="length"/> when the range leaves memory.</returns>
    public ulong CopyOut(ulong address, void* destination, ulong length)
    {
        ulong done = 0;
        while (done < length)
        {
            var piece = length - done;
            var from = TryGetSome(address + done, ref piece);
            if (from != null)
                MemoryCopy.Copy((byte*)destination + done, from, piece);
            else if (!ReadRemote(address + done, (byte*)destination + done, piece = RemotePiece(address + done, length - done)))
                break;
            done += piece;
        }

        return done;
    }

    /// <summary>Copies into memory, across frames.</summary>
    /// <param name="address">Physical address of the first byte.</param>
    /// <param name="source">Host memory of <paramref name="length"/> bytes.</param>
    /// <param name="length">Bytes.</param>
    /// <returns>Bytes copied: less than <paramref name="length"/> when the range leaves memory.</returns>
    public ulong CopyIn(ulong address, void* source, ulong length)
    {
        ulong done = 0;
        while (done < length)
        {
            var piece = length - done;
            var to = TryGetSome(address + done, ref piece);
            if (to != null)
                MemoryCopy.Copy(to, (byte*)source + done, piece);
            else if (!WriteRemote(address + done, (byte*)source + done, piece = RemotePiece(address + done, length - done)))
                break;
            done += piece;
        }

        return done;
    }

    /// <summary>Gives the arena back to the host. No pointer from <see cref="TryGet"/> may be used afterwards.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            if (_disposed)
                return;
            _disposed = true;
            FreePinned();
            _ = Libc.Munmap((nint)_arenaMapping, _arenaMappingLength);
        }
    }
}
