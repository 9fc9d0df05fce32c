using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>One running command (struct iommufd_ucmd).</summary>
/// <param name="user">The caller's memory.</param>
/// <param name="buffer">User address of the argument.</param>
/// <param name="userSize">The size that user space gave.</param>
/// <param name="command">The argument, copied in.</param>
internal unsafe ref struct Ucmd(IUserMemory user, ulong buffer, uint userSize, void* command)
{
    internal IUserMemory User { get; } = user;

    internal ulong Buffer { get; } = buffer;

    internal uint UserSize { get; } = userSize;

    /// <summary>An object that the dispatcher publishes when the command succeeds, and takes back when it fails.</summary>
    internal IommufdObject? NewObject { get; set; }

    // SAFETY: the dispatcher's buffer is larger than every argument.
    internal readonly ref T Command<T>()
        where T : unmanaged => ref *(T*)command;

    /// <summary>Copies the argument back, as far as user space knows it (iommufd_ucmd_respond).</summary>
    internal readonly int Respond<T>()
        where T : unmanaged => User.CopyTo(Buffer, command, nuint.Min(UserSize, (nuint)sizeof(T))) == 0 ? 0 : -Errno.EFAULT;
}
