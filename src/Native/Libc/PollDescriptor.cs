using System.Runtime.InteropServices;

namespace IommuFd.Native;

/// <summary>struct pollfd.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct PollDescriptor
{
    /// <summary>The descriptor; negative entries are ignored.</summary>
    public int Descriptor;

    /// <summary>What to wait for: <see cref="Libc.POLLIN"/> and its kin.</summary>
    public short Events;

    /// <summary>What happened.</summary>
    public short Returned;
}

/// <summary>One ready descriptor of <see cref="IKernel.EpollWait"/>: struct epoll_event in a layout that is the same on every architecture.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct EpollReady
{
    /// <summary>The token given at <see cref="IKernel.EpollControl"/>.</summary>
    public ulong Token;

    /// <summary>What happened: <see cref="Libc.EPOLLIN"/> and its kin.</summary>
    public uint Events;

    /// <summary>Zero.</summary>
    public uint Reserved;
}
