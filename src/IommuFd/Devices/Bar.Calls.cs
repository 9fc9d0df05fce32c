using System.Runtime.CompilerServices;
using IommuFd.Native;

namespace IommuFd;

public sealed unsafe partial class Bar
{
    // A hold for the length of an access, which threads that access the device at the same time do not share.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private int EnterCall()
    {
        int entered = _calls.Enter();
        if (IsDisposed)
        {
            ExitCall(entered);
            throw new ObjectDisposedException(nameof(Bar));
        }

        return entered;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void ExitCall(int entered)
    {
        _calls.Exit(entered);
        if (IsDisposed)
        {
            EndCalls();
        }
    }

    // Disposed: the last access that was under way gives back the hold of all of them.
    private void EndCalls()
    {
        if (_calls.IsZero && Interlocked.Exchange(ref _callsEnded, 1) == 0)
        {
            Exit();
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private T ReadSlow<T>(ulong offset)
        where T : unmanaged
    {
        Validate(offset, (uint)sizeof(T));
        int entered = EnterCall();
        try
        {
            if (Find(offset, (uint)sizeof(T)) is { } window)
            {
                return VolatileRead<T>((byte*)window.Memory.Address + (offset - window.Start));
            }

            // SAFETY: the value is on the stack and as long as stated; this object is held, and so are the device and its descriptor.
            T value = default;
            nint result = _device.Calls.Handle.PreadHeld((nint)(&value), (nuint)sizeof(T), (long)(_info.Offset + offset));
            return result == sizeof(T) ? value : throw Refused("pread", result, offset, sizeof(T));
        }
        finally
        {
            ExitCall(entered);
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private void WriteSlow<T>(ulong offset, T value)
        where T : unmanaged
    {
        Validate(offset, (uint)sizeof(T));
        int entered = EnterCall();
        try
        {
            if (Find(offset, (uint)sizeof(T)) is { } window)
            {
                VolatileWrite((byte*)window.Memory.Address + (offset - window.Start), value);
                return;
            }

            // SAFETY: as in ReadSlow.
            nint result = _device.Calls.Handle.PwriteHeld((nint)(&value), (nuint)sizeof(T), (long)(_info.Offset + offset));
            if (result != sizeof(T))
            {
                throw Refused("pwrite", result, offset, sizeof(T));
            }
        }
        finally
        {
            ExitCall(entered);
        }
    }

    private void Validate(ulong offset, uint width)
    {
        ObjectDisposedException.ThrowIf(IsDisposed, this);
        if (offset >= Size || width > Size - offset)
        {
            throw new ArgumentOutOfRangeException(nameof(offset), $"0x{offset:x} + {width} lies outside the region of 0x{Size:x} bytes.");
        }

        if (offset % width != 0)
        {
            throw new ArgumentException($"0x{offset:x} is not aligned to an access of {width} bytes.", nameof(offset));
        }
    }

    private Window? Find(ulong offset, uint width)
    {
        foreach (Window window in _windows)
        {
            if (offset >= window.Start && offset - window.Start <= window.Memory.Length - width)
            {
                return window;
            }
        }

        return null;
    }

    private IommuFdException Refused(string operation, nint result, ulong offset, int width) => Failure.Of(
        operation, result < 0 ? (int)result : -Errno.EIO, new Evidence("region", $"{_info.Index}"), Evidence.Hex("offset", offset),
        new Evidence("width", $"{width}"));

    // Another thread may be in the middle of an access: it must not lose its address. So the device is replaced by plain memory at the same place, in
    // one step; the address range itself goes with the finalizer, when nobody can use this object any more.
    private protected override void Disposing()
    {
        Volatile.Write(ref _length, 0);
        IKernel kernel = _device.Host.Kernel;
        foreach (Window window in _windows)
        {
            nint result = kernel.Mmap(
                window.Memory.Address, window.Memory.Length, Libc.PROT_READ | Libc.PROT_WRITE,
                Libc.MAP_PRIVATE | Libc.MAP_ANONYMOUS | Libc.MAP_FIXED | Libc.MAP_NORESERVE, -1, 0);
            if (result is < 0 and >= -4095)
            {
                window.Memory.Dispose();
            }
        }

        EndCalls();
    }

    private protected override void Free()
    {
    }
}
