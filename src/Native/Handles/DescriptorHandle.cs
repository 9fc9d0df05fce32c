using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace IommuFd.Native;

/// <summary>
/// An owned file descriptor together with the kernel it belongs to. Calls take a reference for their duration, so disposing during a blocking call
/// delays the close until that call returns.
/// </summary>
public abstract unsafe class DescriptorHandle : SafeHandle
{
    /// <summary>Takes ownership of <paramref name="fd"/>.</summary>
    /// <param name="kernel">The kernel that gave the descriptor and will close it.</param>
    /// <param name="fd">A valid descriptor, &gt;= 0.</param>
    protected DescriptorHandle(IKernel kernel, int fd)
        : base(-1, ownsHandle: true)
    {
        ArgumentNullException.ThrowIfNull(kernel);
        ArgumentOutOfRangeException.ThrowIfNegative(fd);
        Kernel = kernel;
        SetHandle(fd);
    }

    /// <summary>The kernel behind the descriptor.</summary>
    public IKernel Kernel { get; }

    /// <inheritdoc/>
    public sealed override bool IsInvalid => handle < 0;

    /// <summary>Issues an ioctl whose argument is a struct. Allocates nothing.</summary>
    /// <returns>The command's result, or -errno; -EBADF after Dispose.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public int Ioctl<T>(uint request, ref T argument)
        where T : unmanaged
    {
        // SAFETY: the struct is pinned for the call; its size field, set by the caller's layer, bounds what the kernel touches.
        fixed (T* pointer = &argument)
        {
            return Ioctl(request, (nint)pointer);
        }
    }

    /// <summary>The same for a caller that keeps this open by other means for the length of the call: no reference is taken.</summary>
    /// <returns>The command's result, or -errno.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public int IoctlHeld<T>(uint request, ref T argument)
        where T : unmanaged
    {
        // SAFETY: as above.
        fixed (T* pointer = &argument)
        {
            return Kernel.Ioctl((int)handle, request, (nint)pointer);
        }
    }

    /// <summary>pread64(2) for a caller that keeps this open by other means for the length of the call.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public nint PreadHeld(nint buffer, nuint count, long offset) => Kernel.Pread((int)handle, buffer, count, offset);

    /// <summary>pwrite64(2) for a caller that keeps this open by other means for the length of the call.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public nint PwriteHeld(nint buffer, nuint count, long offset) => Kernel.Pwrite((int)handle, buffer, count, offset);

    /// <summary>Issues an ioctl whose argument is an address or a value.</summary>
    public int Ioctl(uint request, nint argument)
    {
        if (!TryEnter())
        {
            return -Errno.EBADF;
        }

        try
        {
            return Kernel.Ioctl((int)handle, request, argument);
        }
        finally
        {
            DangerousRelease();
        }
    }

    /// <summary>read(2) into <paramref name="count"/> bytes at <paramref name="buffer"/>.</summary>
    public nint Read(nint buffer, nuint count)
    {
        if (!TryEnter())
        {
            return -Errno.EBADF;
        }

        try
        {
            return Kernel.Read((int)handle, buffer, count);
        }
        finally
        {
            DangerousRelease();
        }
    }

    /// <summary>write(2) of <paramref name="count"/> bytes at <paramref name="buffer"/>.</summary>
    public nint Write(nint buffer, nuint count)
    {
        if (!TryEnter())
        {
            return -Errno.EBADF;
        }

        try
        {
            return Kernel.Write((int)handle, buffer, count);
        }
        finally
        {
            DangerousRelease();
        }
    }

    /// <summary>pread64(2).</summary>
    public nint Pread(nint buffer, nuint count, long offset)
    {
        if (!TryEnter())
        {
            return -Errno.EBADF;
        }

        try
        {
            return Kernel.Pread((int)handle, buffer, count, offset);
        }
        finally
        {
            DangerousRelease();
        }
    }

    /// <summary>pwrite64(2).</summary>
    public nint Pwrite(nint buffer, nuint count, long offset)
    {
        if (!TryEnter())
        {
            return -Errno.EBADF;
        }

        try
        {
            return Kernel.Pwrite((int)handle, buffer, count, offset);
        }
        finally
        {
            DangerousRelease();
        }
    }

    /// <summary>mmap(2) of this descriptor: the address or -errno.</summary>
    public nint Mmap(nuint length, int protection, int flags, long offset)
    {
        if (!TryEnter())
        {
            return -Errno.EBADF;
        }

        try
        {
            return Kernel.Mmap(0, length, protection, flags, (int)handle, offset);
        }
        finally
        {
            DangerousRelease();
        }
    }

    /// <summary>
    /// poll(2) of this descriptor alone: the events that happened (<see cref="Libc.POLLIN"/> and its kin), 0 after the timeout, or -errno.
    /// </summary>
    /// <param name="events">What to wait for.</param>
    /// <param name="timeoutMilliseconds">-1 waits for ever.</param>
    public int Poll(short events, int timeoutMilliseconds)
    {
        if (!TryEnter())
        {
            return -Errno.EBADF;
        }

        try
        {
            // SAFETY: one descriptor on the stack for the length of the call.
            PollDescriptor descriptor = new() { Descriptor = (int)handle, Events = events };
            int result = Kernel.Poll((nint)(&descriptor), 1, timeoutMilliseconds);
            return result > 0 ? descriptor.Returned : result;
        }
        finally
        {
            DangerousRelease();
        }
    }

    /// <inheritdoc/>
    protected sealed override bool ReleaseHandle() => Kernel.Close((int)handle) >= 0;

    /// <summary>Takes a reference, to be given back with <see cref="SafeHandle.DangerousRelease"/>; false after Dispose.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private protected bool TryEnter()
    {
        bool entered = false;
        try
        {
            DangerousAddRef(ref entered);
        }
        catch (ObjectDisposedException)
        {
            return false;
        }

        return entered;
    }
}
