using System.Runtime.InteropServices;

namespace IommuFd.Native;

#pragma warning disable CS1591, CA1707 // names and values of the C library's headers; each is documented by the call it belongs to

/// <summary>Constants of the C library, for Linux on x86-64, arm64, riscv64 and loongarch64 (asm-generic values).</summary>
public static partial class Libc
{
    public const int O_RDONLY = 0, O_WRONLY = 1, O_RDWR = 2, O_ACCMODE = 3, O_NONBLOCK = 0x800, O_CLOEXEC = 0x80000;

    public const int PROT_NONE = 0, PROT_READ = 1, PROT_WRITE = 2;
    public const int MAP_SHARED = 1, MAP_PRIVATE = 2, MAP_FIXED = 0x10, MAP_ANONYMOUS = 0x20, MAP_NORESERVE = 0x4000, MAP_POPULATE = 0x8000;
    public const int MAP_HUGETLB = 0x40000, MAP_HUGE_SHIFT = 26, MAP_FIXED_NOREPLACE = 0x100000;
    internal const int MAP_GROWSDOWN = 0x100, MREMAP_MAYMOVE = 1, MREMAP_FIXED = 2;
    public const int MADV_DONTNEED = 4, MADV_DONTFORK = 10, MADV_HUGEPAGE = 14, MADV_NOHUGEPAGE = 15, MADV_POPULATE_READ = 22,
        MADV_POPULATE_WRITE = 23;

    public const short POLLIN = 1, POLLOUT = 4, POLLERR = 8, POLLHUP = 0x10, POLLNVAL = 0x20;
    public const uint EPOLLIN = 1, EPOLLOUT = 4, EPOLLERR = 8, EPOLLHUP = 0x10;
    public const int EPOLL_CTL_ADD = 1, EPOLL_CTL_DEL = 2, EPOLL_CTL_MOD = 3, EPOLL_CLOEXEC = 0x80000;

    public const int EFD_SEMAPHORE = 1, EFD_NONBLOCK = 0x800, EFD_CLOEXEC = 0x80000;
    public const uint MFD_CLOEXEC = 1, MFD_ALLOW_SEALING = 2, MFD_HUGETLB = 4;
    public const int F_DUPFD_CLOEXEC = 1030, F_GETFD = 1, F_SETFD = 2, F_GETFL = 3, F_SETFL = 4, F_ADD_SEALS = 1033, F_GET_SEALS = 1034;
    public const int F_SEAL_SHRINK = 2, F_SEAL_GROW = 4;
    public const int SOCK_STREAM = 1, SOCK_SEQPACKET = 5, SOCK_NONBLOCK = 0x800, SOCK_CLOEXEC = 0x80000;

    public const int RLIMIT_NOFILE = 7, RLIMIT_MEMLOCK = 8;

    /// <summary>The granule of mmap and of IOVA alignment on the hosts this library runs on, in bytes.</summary>
    public static readonly nuint PageSize = (nuint)Environment.SystemPageSize;

    // x86-64 numbers its calls by itself, the others take asm-generic's numbers.
    internal static nint SYS_process_vm_readv => RuntimeInformation.ProcessArchitecture == Architecture.X64 ? 310 : 270;

    internal static nint SYS_process_vm_writev => RuntimeInformation.ProcessArchitecture == Architecture.X64 ? 311 : 271;

    internal static nint SYS_getdents64 => RuntimeInformation.ProcessArchitecture == Architecture.X64 ? 217 : 61;

    // Arm kept the values that it had before there were generic ones.
    internal static int O_DIRECTORY => RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? 0x4000 : 0x10000;

    internal static int O_NOFOLLOW => RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? 0x8000 : 0x20000;
}
