using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>The kernel's rule for extensible structs (copy_struct_from_user in linux/uaccess.h).</summary>
public static unsafe class UserCopy
{
    /// <summary>
    /// Copies a struct whose size may differ on both sides: what user space does not have is zero here, what this kernel does not know must be zero
    /// there.
    /// </summary>
    /// <param name="user">The caller's memory.</param>
    /// <param name="destination">Room for <paramref name="size"/> bytes.</param>
    /// <param name="size">The size that this kernel knows.</param>
    /// <param name="address">User address.</param>
    /// <param name="userSize">The size that user space has.</param>
    /// <returns>0, -E2BIG for a non-zero tail, -EFAULT.</returns>
    // SAFETY: writes exactly size bytes at destination.
    public static int StructFrom(IUserMemory user, void* destination, nuint size, ulong address, nuint userSize)
    {
        var known = nuint.Min(size, userSize);
        if (userSize < size)
        {
            new Span<byte>((byte*)destination + userSize, (int)(size - userSize)).Clear();
        }
        else if (userSize > size)
        {
            var rc = CheckZeroed(user, address + size, userSize - size);
            if (rc <= 0)
            {
                return rc < 0 ? rc : -Errno.E2BIG;
            }
        }

        return user.CopyFrom(address, destination, known);
    }

    /// <summary>check_zeroed_user: 1 when all bytes are zero, 0 when one is not, -EFAULT.</summary>
    public static int CheckZeroed(IUserMemory user, ulong address, nuint length)
    {
        const int Piece = 256;
        var buffer = stackalloc byte[Piece];
        for (nuint done = 0; done < length;)
        {
            // Not beyond a page's end: a byte that decides must be found before a page that faults.
            var n = nuint.Min(nuint.Min(length - done, Piece), (nuint)(4096 - ((address + done) % 4096)));
            if (user.CopyFrom(address + done, buffer, n) != 0)
            {
                return -Errno.EFAULT;
            }

            if (new ReadOnlySpan<byte>(buffer, (int)n).ContainsAnyExcept((byte)0))
            {
                return 0;
            }

            done += n;
        }

        return 1;
    }

    /// <summary>clear_user: zeroes user memory, or -EFAULT.</summary>
    public static int Clear(IUserMemory user, ulong address, ulong length)
    {
        const int Piece = 256;
        var zero = stackalloc byte[Piece];
        new Span<byte>(zero, Piece).Clear();
        for (ulong done = 0; done < length; done += Piece)
        {
            if (user.CopyTo(address + done, zero, (nuint)ulong.Min(Piece, length - done)) != 0)
            {
                return -Errno.EFAULT;
            }
        }

        return 0;
    }
}
