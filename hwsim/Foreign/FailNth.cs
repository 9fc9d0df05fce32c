using System.Globalization;
using System.Text;
using IommuFd.HwSim.Kernel;
using IommuFd.Native;

namespace IommuFd.HwSim.Foreign;

/// <summary>
/// Fault injection (/proc/PID/task/TID/fail-nth of Documentation/fault-injection): the n-th thing that can fail in the process's calls fails. What can fail
/// here is what the simulated kernel asks of the outside: copies from and to user memory, pinning, and new descriptors.
/// </summary>
/// <remarks>Does not model: one count a thread (here it is one a process), and failing allocations inside the simulated kernel, which has none that fail.</remarks>
internal sealed class FailNth
{
    private int _left;

    /// <summary>How many more things succeed before one fails, plus 1; 0 when nothing will fail.</summary>
    public int Left
    {
        get => Volatile.Read(ref _left);
        set => Volatile.Write(ref _left, value);
    }

    /// <summary>True from the moment that a call's descriptor is known to the program: Linux makes that the last step, after which nothing fails.</summary>
    public bool IsCommitted { get; set; }

    /// <summary>Asked before everything that can fail.</summary>
    public bool MustFail() => Volatile.Read(ref _left) != 0 && !IsCommitted && Interlocked.Decrement(ref _left) == 0;
}

/// <summary>The open fail-nth file.</summary>
internal sealed unsafe class FailNthFile(FailNth faults) : SimulatedFile
{
    /// <inheritdoc/>
    public override nint Pread(ulong buffer, nuint count, long offset, IUserMemory user)
    {
        var text = Encoding.ASCII.GetBytes(faults.Left.ToString(CultureInfo.InvariantCulture) + "\n");
        if (offset >= text.Length)
        {
            return 0;
        }

        var length = nuint.Min(count, (nuint)(text.Length - offset));
        fixed (byte* bytes = text)
        {
            return user.CopyTo(buffer, bytes + offset, length) < 0 ? -Errno.EFAULT : (nint)length;
        }
    }

    /// <inheritdoc/>
    public override nint Pwrite(ulong buffer, nuint count, long offset, IUserMemory user)
    {
        const int Room = 12;
        var text = stackalloc byte[Room];
        var length = nuint.Min(count, Room);
        if (user.CopyFrom(buffer, text, length) < 0)
        {
            return -Errno.EFAULT;
        }

        if (!int.TryParse(new ReadOnlySpan<byte>(text, (int)length).Trim(" \n"u8), CultureInfo.InvariantCulture, out var left) || left < 0)
        {
            return -Errno.EINVAL;
        }

        faults.Left = left;
        return (nint)count;
    }

    /// <inheritdoc/>
    public override nint Read(ulong buffer, nuint count, IUserMemory user) => Pread(buffer, count, 0, user);

    /// <inheritdoc/>
    public override nint Write(ulong buffer, nuint count, IUserMemory user) => Pwrite(buffer, count, 0, user);
}
