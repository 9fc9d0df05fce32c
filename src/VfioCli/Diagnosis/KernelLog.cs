using System.Runtime.InteropServices;
using System.Text;
using IommuFd.Native;

namespace VfioCli.Diagnosis;

/// <summary>
/// The kernel's log, /dev/kmsg (Documentation/ABI/testing/dev-kmsg): one record per read, <c>priority,number,microseconds,flags;text</c>.
/// </summary>
internal static class KernelLog
{
    private const int RecordSize = 8192; // the kernel's limit for one record

    /// <summary>Every line that the kernel still has; empty with -errno when it may not be read (root, or dmesg_restrict off).</summary>
    public static int Read(IKernel kernel, out IReadOnlyList<string> lines)
    {
        List<string> found = [];
        lines = found;
        int fd = kernel.Open("/dev/kmsg", Libc.O_RDONLY | Libc.O_NONBLOCK | Libc.O_CLOEXEC, 0);
        if (fd < 0)
        {
            return fd;
        }

        nint buffer = Marshal.AllocHGlobal(RecordSize);
        try
        {
            while (true)
            {
                nint length = kernel.Read(fd, buffer, RecordSize);
                if (length == -Errno.EPIPE)
                {
                    continue; // records were overwritten while we read: the next read goes on with the oldest that is left
                }

                if (length <= 0)
                {
                    return length is 0 or -Errno.EAGAIN ? found.Count : (int)length;
                }

                byte[] record = new byte[length];
                Marshal.Copy(buffer, record, 0, (int)length);
                string text = Encoding.UTF8.GetString(record);
                int start = text.IndexOf(';', StringComparison.Ordinal) + 1, end = text.IndexOf('\n', StringComparison.Ordinal);
                found.Add(text[start..(end < start ? text.Length : end)]);
            }
        }
        finally
        {
            Marshal.FreeHGlobal(buffer);
            _ = kernel.Close(fd);
        }
    }
}
