using System.Runtime.InteropServices;

namespace IommuFd.HwSim.Foreign;

/// <summary>
/// Numbers of the system calls that are intercepted: x86-64 has its own, arm64 and the others asm-generic's (linux/unistd.h). -1: does not exist
/// there.
/// </summary>
internal sealed record SystemCalls
{
    /// <summary>The value of seccomp_data.arch for calls of this process's own kind (linux/audit.h).</summary>
    public required uint Architecture { get; init; }

    /// <summary>The calls of the architecture that this process runs on, or null where interception is not implemented.</summary>
    public static SystemCalls? Here => RuntimeInformation.ProcessArchitecture switch
    {
        System.Runtime.InteropServices.Architecture.X64 => X64,
        System.Runtime.InteropServices.Architecture.Arm64 => Arm64,
        _ => null,
    };

#pragma warning disable CS1591, CA1707, SA1600 // the kernel's names
    public int read { get; private init; }
    public int write { get; private init; }
    public int pread64 { get; private init; }
    public int pwrite64 { get; private init; }
    public int readv { get; private init; }
    public int writev { get; private init; }
    public int preadv { get; private init; }
    public int pwritev { get; private init; }
    public int open { get; private init; }
    public int openat { get; private init; }
    public int openat2 { get; private init; } = 437;
    public int creat { get; private init; }
    public int ioctl { get; private init; }
    public int mmap { get; private init; }
    public int fstat { get; private init; }
    public int newfstatat { get; private init; }
    public int statx { get; private init; }
    public int lseek { get; private init; }
    public int ftruncate { get; private init; }
    public int dup { get; private init; }
    public int dup2 { get; private init; }
    public int dup3 { get; private init; }
    public int fcntl { get; private init; }
    public int close { get; private init; }
    public int close_range { get; private init; } = 436;
    public int execve { get; private init; }
    public int execveat { get; private init; }
#pragma warning restore

    /// <summary>x86-64.</summary>
    public static SystemCalls X64 { get; } = new()
    {
        Architecture = 0xC000003E,
        read = 0, write = 1, open = 2, fstat = 5, lseek = 8, mmap = 9, ioctl = 16, pread64 = 17, pwrite64 = 18, readv = 19, writev = 20,
        close = 3, dup = 32, dup2 = 33, dup3 = 292, execve = 59, execveat = 322, fcntl = 72, ftruncate = 77, creat = 85, openat = 257,
        newfstatat = 262, preadv = 295, pwritev = 296, statx = 332,
    };

    /// <summary>arm64.</summary>
    public static SystemCalls Arm64 { get; } = new()
    {
        Architecture = 0xC00000B7,
        read = 63, write = 64, open = -1, fstat = 80, lseek = 62, mmap = 222, ioctl = 29, pread64 = 67, pwrite64 = 68, readv = 65, writev = 66,
        close = 57, dup = 23, dup2 = -1, dup3 = 24, execve = 221, execveat = 281, fcntl = 25, ftruncate = 46, creat = -1, openat = 56,
        newfstatat = 79, preadv = 69, pwritev = 70, statx = 291,
    };
}
