using System.Numerics;
using System.Runtime.CompilerServices;
using IommuFd.Native;

namespace IommuFd;

/// <summary>How a <see cref="Bar"/> is reached.</summary>
public enum BarAccess
{
    /// <summary>Through memory where the device allows it, else through pread and pwrite.</summary>
    MappedWhereAllowed,

    /// <summary>Always through pread and pwrite: a device that vanished gives an error instead of SIGBUS.</summary>
    Calls,
}

/// <summary>
/// A device's registers: little-endian accesses of exactly the width asked for, aligned to it, in program order. Mapped parts are accessed as memory,
/// the rest through pread and pwrite. There is no span over it: a register is not memory.
/// </summary>
/// <remarks>
/// Before a write that makes the device look at DMA memory, call <see cref="Interlocked.MemoryBarrier"/>; stores to memory and to registers are
/// otherwise ordered on x86-64 only. A mapped access to a device whose memory decoding is off, or that was unplugged, can end the process with
/// SIGBUS.
/// </remarks>
public sealed unsafe partial class Bar : Resource
{
    private readonly BoundDevice _device;
    private readonly RegionInfo _info;
    private readonly Window[] _windows;
    private readonly byte* _base; // the first window, the only one that most devices have
    private readonly ulong _start;
    private readonly CallCount _calls = new();
    private ulong _length; // 0 once disposed: every access then takes the slow path, which refuses
    private int _callsEnded;

    private Bar(BoundDevice device, RegionInfo info, Window[] windows)
        : base(device)
    {
        _device = device;
        _info = info;
        _windows = windows;
        Keep(); // given back when the calls have ended
        if (windows.Length > 0)
        {
            _base = (byte*)windows[0].Memory.Address;
            _start = windows[0].Start;
            _length = windows[0].Memory.Length;
        }
    }

    /// <summary>The device.</summary>
    public BoundDevice Device => _device;

    /// <summary>What the kernel says about the region.</summary>
    public RegionInfo Info => _info;

    /// <summary>Bytes.</summary>
    public ulong Size => _info.Size;

    /// <summary>Whether any part is accessed as memory.</summary>
    public bool IsMapped => _windows.Length > 0;

    internal static Bar Open(BoundDevice device, uint index, BarAccess access)
    {
        device.Enter();
        List<Window> windows = [];
        try
        {
            RegionInfo info = device.Calls.GetRegionInfo(index);
            if (info.Size == 0)
            {
                throw Failure.Because(
                    $"open region {index}", Errno.ENODEV, FailureCause.OutOfRange, "the device does not have this region", "",
                    new Evidence("size", "0"));
            }

            foreach (RegionArea area in access == BarAccess.Calls ? [] : info.MmapAreas)
            {
                int protection = ((info.Access & RegionAccess.Read) != 0 ? Libc.PROT_READ : 0)
                    | ((info.Access & RegionAccess.Write) != 0 ? Libc.PROT_WRITE : 0);
                nint address = device.Calls.Handle.Mmap((nuint)area.Length, protection, Libc.MAP_SHARED, checked((long)(info.Offset + area.Offset)));
                if (address is < 0 and >= -4095)
                {
                    windows.ForEach(static window => window.Memory.Dispose());
                    windows.Clear();
                    break; // a region that says it can be mapped but cannot: the calls always work
                }

                windows.Add(new Window(area.Offset, new MappedMemory(device.Host.Kernel, address, (nuint)area.Length)));
            }

            return new Bar(device, info, [.. windows]);
        }
        catch
        {
            windows.ForEach(static window => window.Memory.Dispose());
            device.Exit();
            throw;
        }
    }

    /// <summary>Reads a byte.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The offset is outside.</exception>
    /// <exception cref="IommuFdException">The kernel refused a pread.</exception>
    public byte Read8(ulong offset) => Read<byte>(offset);

    /// <summary>Reads 16 bits.</summary>
    /// <exception cref="ArgumentException">The offset is not aligned or outside.</exception>
    /// <exception cref="IommuFdException">The kernel refused a pread.</exception>
    public ushort Read16(ulong offset) => Read<ushort>(offset);

    /// <summary>Reads 32 bits. Allocates nothing.</summary>
    /// <exception cref="ArgumentException">The offset is not aligned or outside.</exception>
    /// <exception cref="IommuFdException">The kernel refused a pread.</exception>
    public uint Read32(ulong offset) => Read<uint>(offset);

    /// <summary>
    /// Reads 64 bits in one access where the part is mapped; through pread the kernel may split it into two of 32 bits, low half first.
    /// </summary>
    /// <exception cref="ArgumentException">The offset is not aligned or outside.</exception>
    /// <exception cref="IommuFdException">The kernel refused a pread.</exception>
    public ulong Read64(ulong offset) => Read<ulong>(offset);

    /// <summary>Writes a byte.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The offset is outside.</exception>
    /// <exception cref="IommuFdException">The kernel refused a pwrite.</exception>
    public void Write8(ulong offset, byte value) => Write(offset, value);

    /// <summary>Writes 16 bits.</summary>
    /// <exception cref="ArgumentException">The offset is not aligned or outside.</exception>
    /// <exception cref="IommuFdException">The kernel refused a pwrite.</exception>
    public void Write16(ulong offset, ushort value) => Write(offset, value);

    /// <summary>Writes 32 bits. Allocates nothing.</summary>
    /// <exception cref="ArgumentException">The offset is not aligned or outside.</exception>
    /// <exception cref="IommuFdException">The kernel refused a pwrite.</exception>
    public void Write32(ulong offset, uint value) => Write(offset, value);

    /// <summary>
    /// Writes 64 bits in one access where the part is mapped; through pwrite the kernel may split it into two of 32 bits, low half first.
    /// </summary>
    /// <exception cref="ArgumentException">The offset is not aligned or outside.</exception>
    /// <exception cref="IommuFdException">The kernel refused a pwrite.</exception>
    public void Write64(ulong offset, ulong value) => Write(offset, value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private T Read<T>(ulong offset)
        where T : unmanaged
    {
        ulong at = offset - _start;

        // A misaligned offset rotates its low bits to the top and fails the same comparison.
        if (BitOperations.RotateRight(at, BitOperations.Log2((uint)sizeof(T))) < _length / (uint)sizeof(T))
        {
            // SAFETY: inside the window, which stays mapped (to this device, or to nothing after Dispose) as long as this object is reachable.
            T value = VolatileRead<T>(_base + at);
            GC.KeepAlive(this);
            return value;
        }

        return ReadSlow<T>(offset);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Write<T>(ulong offset, T value)
        where T : unmanaged
    {
        ulong at = offset - _start;
        if (BitOperations.RotateRight(at, BitOperations.Log2((uint)sizeof(T))) < _length / (uint)sizeof(T))
        {
            // SAFETY: as in Read.
            VolatileWrite(_base + at, value);
            GC.KeepAlive(this);
            return;
        }

        WriteSlow(offset, value);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static T VolatileRead<T>(byte* address)
        where T : unmanaged
    {
        if (sizeof(T) == 1)
        {
            byte value = Volatile.Read(ref *address);
            return Unsafe.As<byte, T>(ref value);
        }

        if (sizeof(T) == 2)
        {
            ushort value = Volatile.Read(ref *(ushort*)address);
            return Unsafe.As<ushort, T>(ref value);
        }

        if (sizeof(T) == 4)
        {
            uint value = Volatile.Read(ref *(uint*)address);
            return Unsafe.As<uint, T>(ref value);
        }

        ulong wide = Volatile.Read(ref *(ulong*)address);
        return Unsafe.As<ulong, T>(ref wide);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void VolatileWrite<T>(byte* address, T value)
        where T : unmanaged
    {
        if (sizeof(T) == 1)
        {
            Volatile.Write(ref *address, Unsafe.As<T, byte>(ref value));
        }
        else if (sizeof(T) == 2)
        {
            Volatile.Write(ref *(ushort*)address, Unsafe.As<T, ushort>(ref value));
        }
        else if (sizeof(T) == 4)
        {
            Volatile.Write(ref *(uint*)address, Unsafe.As<T, uint>(ref value));
        }
        else
        {
            Volatile.Write(ref *(ulong*)address, Unsafe.As<T, ulong>(ref value));
        }
    }

    private sealed record Window(ulong Start, MappedMemory Memory);
}
