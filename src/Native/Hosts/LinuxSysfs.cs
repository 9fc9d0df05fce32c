using System.Runtime.InteropServices;
using System.Text;

namespace IommuFd.Native;

/// <summary>The running machine's files. Plain system calls: an attribute is read to its end and written with one write(2), errno kept.</summary>
public sealed unsafe class LinuxSysfs : ISysfs
{
    private const int AT_FDCWD = -100;
    private const uint STATX_BASIC_STATS = 0x7ff;

    /// <inheritdoc/>
    public int ReadText(string path, out string text)
    {
        int result = ReadBytes(path, out byte[] bytes);
        text = Encoding.UTF8.GetString(bytes);
        return result;
    }

    /// <inheritdoc/>
    public int ReadBytes(string path, out byte[] bytes)
    {
        bytes = [];
        int fd = Libc.Open(path, Libc.O_RDONLY | Libc.O_CLOEXEC, 0);
        if (fd < 0)
        {
            return -Marshal.GetLastPInvokeError();
        }

        try
        {
            byte[] buffer = new byte[4096];
            int length = 0;
            while (true)
            {
                if (length == buffer.Length)
                {
                    Array.Resize(ref buffer, buffer.Length * 2);
                }

                nint read;
                fixed (byte* pointer = buffer)
                {
                    // SAFETY: the count is the room left behind `length`.
                    read = Libc.Read(fd, (nint)(pointer + length), (nuint)(buffer.Length - length));
                }

                if (read < 0)
                {
                    int errno = Marshal.GetLastPInvokeError();
                    if (errno == Errno.EINTR)
                    {
                        continue;
                    }

                    return -errno;
                }

                if (read == 0)
                {
                    bytes = buffer.AsSpan(0, length).ToArray();
                    return length;
                }

                length += (int)read;
            }
        }
        finally
        {
            _ = Libc.Close(fd);
        }
    }

    /// <inheritdoc/>
    public int WriteText(string path, string text)
    {
        if (text.Length == 0)
        {
            return -Errno.EINVAL;
        }

        int fd = Libc.Open(path, Libc.O_WRONLY | Libc.O_CLOEXEC, 0);
        if (fd < 0)
        {
            return -Marshal.GetLastPInvokeError();
        }

        byte[] bytes = Encoding.UTF8.GetBytes(text);
        fixed (byte* pointer = bytes)
        {
            // SAFETY: the buffer is pinned for the call and as long as stated.
            nint written = Libc.Write(fd, (nint)pointer, (nuint)bytes.Length);
            int errno = written < 0 ? Marshal.GetLastPInvokeError() : 0;
            _ = Libc.Close(fd);
            return written == bytes.Length ? 0 : errno != 0 ? -errno : -Errno.EIO;
        }
    }

    /// <inheritdoc/>
    public int ReadLink(string path, out string target)
    {
        byte* buffer = stackalloc byte[4096];
        nint length = Libc.ReadLink(path, buffer, 4096);
        int errno = length < 0 ? Marshal.GetLastPInvokeError() : 0;
        target = length < 0 ? "" : Encoding.UTF8.GetString(buffer, (int)length);
        return errno != 0 ? -errno : (int)length;
    }

    /// <inheritdoc/>
    public int List(string path, out string[] names)
    {
        names = [];
        int fd = Libc.Open(path, Libc.O_RDONLY | Libc.O_DIRECTORY | Libc.O_CLOEXEC, 0);
        if (fd < 0)
        {
            return -Marshal.GetLastPInvokeError();
        }

        const int size = 32768, lengthAt = 16, nameAt = 19; // struct linux_dirent64
        byte[] buffer = new byte[size];
        List<string> found = [];
        fixed (byte* records = buffer)
        {
            while (true)
            {
                // SAFETY: the kernel writes whole records into the buffer, each with its length and a name that ends with a zero byte.
                nint length = Libc.Syscall(Libc.SYS_getdents64, fd, (nint)records, size, 0, 0, 0);
                int errno = length < 0 ? Marshal.GetLastPInvokeError() : 0;
                if (length <= 0)
                {
                    _ = Libc.Close(fd);
                    if (errno != 0)
                    {
                        return -errno;
                    }

                    names = [.. found];
                    Array.Sort(names, StringComparer.Ordinal);
                    return names.Length;
                }

                for (nint at = 0; at < length; at += *(ushort*)(records + at + lengthAt))
                {
                    string name = Marshal.PtrToStringUTF8((nint)(records + at + nameAt))!;
                    if (name is not ("." or ".."))
                    {
                        found.Add(name);
                    }
                }
            }
        }
    }

    /// <inheritdoc/>
    public int Status(string path, out PathStatus status)
    {
        status = default;
        Libc.StatxBuffer buffer;
        if (Libc.Statx(AT_FDCWD, path, 0, STATX_BASIC_STATS, &buffer) < 0)
        {
            return -Marshal.GetLastPInvokeError();
        }

        PathKind kind = (buffer.Mode & 0xf000) switch
        {
            0x8000 => PathKind.File,
            0x4000 => PathKind.Directory,
            0x2000 => PathKind.CharacterDevice,
            _ => PathKind.Other,
        };
        status = new PathStatus(kind, (uint)buffer.Mode & 0xfffu, buffer.UserId, buffer.GroupId,
            ((ulong)buffer.DeviceMajor << 8) | buffer.DeviceMinor);
        return 0;
    }
}
