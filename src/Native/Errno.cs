using System.Runtime.InteropServices;

namespace IommuFd.Native;

/// <summary>
/// Linux error numbers (asm-generic/errno-base.h and errno.h; the same on x86-64, arm64, riscv64 and loongarch64). Inside this project a failed
/// call returns the negated number: <c>return -Errno.EINVAL</c>.
/// </summary>
public static class Errno
{
#pragma warning disable CS1591, CA1707 // each constant is its own documentation: errno(3)
    public const int EPERM = 1, ENOENT = 2, ESRCH = 3, EINTR = 4, EIO = 5, ENXIO = 6, E2BIG = 7, ENOEXEC = 8, EBADF = 9, ECHILD = 10;
    public const int EAGAIN = 11, ENOMEM = 12, EACCES = 13, EFAULT = 14, ENOTBLK = 15, EBUSY = 16, EEXIST = 17, EXDEV = 18, ENODEV = 19, ENOTDIR = 20;
    public const int EISDIR = 21, EINVAL = 22, ENFILE = 23, EMFILE = 24, ENOTTY = 25, ETXTBSY = 26, EFBIG = 27, ENOSPC = 28, ESPIPE = 29, EROFS = 30;
    public const int EMLINK = 31, EPIPE = 32, EDOM = 33, ERANGE = 34, EDEADLK = 35, ENAMETOOLONG = 36, ENOLCK = 37, ENOSYS = 38,
        ENOTEMPTY = 39, ELOOP = 40;
    public const int ENOMSG = 42, ENODATA = 61, ETIME = 62, EPROTO = 71, EOVERFLOW = 75, EBADFD = 77, EILSEQ = 84, ENOTSOCK = 88, EMSGSIZE = 90,
        EOPNOTSUPP = 95, EADDRINUSE = 98;
    public const int EADDRNOTAVAIL = 99, ENOBUFS = 105, ETIMEDOUT = 110, ECONNREFUSED = 111, EALREADY = 114, EINPROGRESS = 115, ECANCELED = 125;
#pragma warning restore CS1591, CA1707

    /// <summary>The symbolic name of a positive error number, or its digits when it has none here.</summary>
    public static string Name(int errno) => errno switch
    {
        EPERM => "EPERM", ENOENT => "ENOENT", ESRCH => "ESRCH", EINTR => "EINTR", EIO => "EIO", ENXIO => "ENXIO",
        E2BIG => "E2BIG", ENOEXEC => "ENOEXEC",
        EBADF => "EBADF", ECHILD => "ECHILD", EAGAIN => "EAGAIN", ENOMEM => "ENOMEM", EACCES => "EACCES", EFAULT => "EFAULT", ENOTBLK => "ENOTBLK",
        EBUSY => "EBUSY", EEXIST => "EEXIST", EXDEV => "EXDEV", ENODEV => "ENODEV", ENOTDIR => "ENOTDIR", EISDIR => "EISDIR", EINVAL => "EINVAL",
        ENFILE => "ENFILE", EMFILE => "EMFILE", ENOTTY => "ENOTTY", ETXTBSY => "ETXTBSY", EFBIG => "EFBIG", ENOSPC => "ENOSPC", ESPIPE => "ESPIPE",
        EROFS => "EROFS", EMLINK => "EMLINK", EPIPE => "EPIPE", EDOM => "EDOM", ERANGE => "ERANGE", EDEADLK => "EDEADLK",
        ENAMETOOLONG => "ENAMETOOLONG",
        ENOLCK => "ENOLCK", ENOSYS => "ENOSYS", ENOTEMPTY => "ENOTEMPTY", ELOOP => "ELOOP", ENOMSG => "ENOMSG", ENODATA => "ENODATA",
        ETIME => "ETIME", EPROTO => "EPROTO",
        EOVERFLOW => "EOVERFLOW", EBADFD => "EBADFD", EILSEQ => "EILSEQ", ENOTSOCK => "ENOTSOCK", EMSGSIZE => "EMSGSIZE", EOPNOTSUPP => "EOPNOTSUPP",
        EADDRINUSE => "EADDRINUSE",
        EADDRNOTAVAIL => "EADDRNOTAVAIL", ENOBUFS => "ENOBUFS", ETIMEDOUT => "ETIMEDOUT", ECONNREFUSED => "ECONNREFUSED", EALREADY => "EALREADY",
        EINPROGRESS => "EINPROGRESS", ECANCELED => "ECANCELED",
        _ => errno.ToString(System.Globalization.CultureInfo.InvariantCulture),
    };

    /// <summary>The C library's sentence for a positive error number.</summary>
    public static string Describe(int errno) => Marshal.GetPInvokeErrorMessage(errno);
}
