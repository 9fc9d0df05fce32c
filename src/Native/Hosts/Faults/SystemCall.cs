namespace IommuFd.Native;

/// <summary>The calls of the seam, for rules and records.</summary>
public enum SystemCall
{
#pragma warning disable CS1591 // each is the method of IKernel or ISysfs of that name
    Open, Close, Ioctl, Mmap, Munmap, Madvise, Mbind, Read, Write, Pread, Pwrite, Poll, EpollCreate, EpollControl, EpollWait, EventFd, MemFdCreate,
    Ftruncate, Fcntl, SocketPair, SendDescriptors, ReceiveDescriptors, GetResourceLimit, SetResourceLimit,
    SysfsReadText, SysfsReadBytes, SysfsWriteText, SysfsReadLink, SysfsList, SysfsStatus,
#pragma warning restore CS1591
}
