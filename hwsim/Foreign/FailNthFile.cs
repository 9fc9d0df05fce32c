using System.Globalization;
using System.Text;
using IommuFd.HwSim.Kernel;
using IommuFd.Native;

namespace IommuFd.HwSim.Foreign;

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
