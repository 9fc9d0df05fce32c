using IommuFd.Native;
using Libc = IommuFd.Native.Libc;

namespace IommuFd.HwSim.Devices;

/// <summary>Memory of a device, behind a memfd: a user's mapping, the device model and pread(2) see the same bytes.</summary>
internal sealed unsafe class DeviceMemory : IDisposable
{
    private readonly LinuxKernel _real;
    private readonly int _descriptor;
    private readonly long _base;

    public DeviceMemory(LinuxKernel real, ulong size, int bar)
    {
        _base = MapBias | ((long)bar << 40);
        _real = real;
        Size = size;
        _descriptor = real.MemFdCreate("bar", Libc.MFD_CLOEXEC);
        _ = real.Ftruncate(_descriptor, _base + (long)size);
        Address = real.Mmap(0, (nuint)size, Libc.PROT_READ | Libc.PROT_WRITE, Libc.MAP_SHARED | Libc.MAP_NORESERVE, _descriptor, _base);
        if (_descriptor < 0 || Address is < 0 and >= -4095)
        {
            throw new InvalidOperationException($"There is no memory for a BAR of {size} bytes.");
        }
    }

    /// <summary>
    /// Added to a region's offset in VFIO to get the bytes' place in <see cref="Descriptor"/>: what another process is told, and maps by itself.
    /// </summary>
    public const long MapBias = 1L << 62;

    /// <summary>The memory file.</summary>
    public int Descriptor => _descriptor;

    /// <summary>Bytes.</summary>
    public ulong Size { get; }

    /// <summary>Where this process sees it.</summary>
    public nint Address { get; }

    /// <summary>Maps a part for the user.</summary>
    public nint Mmap(nint address, nuint length, int protection, int flags, long offset) =>
        _real.Mmap(address, length, protection, flags, _descriptor, _base + offset);

    /// <summary>Reads 1 to 8 bytes.</summary>
    public ulong Read(ulong offset, int bytes)
    {
        // SAFETY: the caller keeps offset + bytes inside Size.
        ulong value = 0;
        Buffer.MemoryCopy((byte*)Address + offset, &value, sizeof(ulong), bytes);
        return value;
    }

    /// <summary>Writes 1 to 8 bytes.</summary>
    public void Write(ulong offset, int bytes, ulong value) =>
        Buffer.MemoryCopy(&value, (byte*)Address + offset, bytes, bytes); // SAFETY: as Read.

    /// <summary>All bytes 0, as after a reset.</summary>
    public void Clear() => new Span<byte>((void*)Address, (int)Size).Clear();

    /// <inheritdoc/>
    public void Dispose()
    {
        _ = _real.Munmap(Address, (nuint)Size);
        _ = _real.Close(_descriptor);
    }
}
