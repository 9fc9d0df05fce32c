using System.Globalization;
using System.Text;
using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>What the kernel prints (printk): the newest lines, and their number.</summary>
/// <remarks>
/// Any number of threads may call. Does not model: time (every record is of second 0), levels, a limit on how often a line is printed.
/// </remarks>
internal sealed class KernelLog
{
    private const int Kept = 1024;

    private readonly Lock _gate = new();
    private readonly Queue<string> _lines = new();
    private long _first;

    /// <summary>Adds a line.</summary>
    public void Print(string line)
    {
        lock (_gate)
        {
            _lines.Enqueue(line);
            if (_lines.Count > Kept)
            {
                _ = _lines.Dequeue();
                _first++;
            }
        }
    }

    /// <summary>Number <paramref name="next"/> or the oldest that is left after it, as a record of /dev/kmsg; null when there is none yet.</summary>
    public byte[]? Record(ref long next, out bool lost)
    {
        lock (_gate)
        {
            lost = next < _first;
            next = Math.Max(next, _first);
            if (next - _first >= _lines.Count)
            {
                return null;
            }

            string line = _lines.ElementAt((int)(next - _first));
            return Encoding.UTF8.GetBytes(string.Create(CultureInfo.InvariantCulture, $"3,{next++},0,-;{line}\n"));
        }
    }

    /// <summary>The node /dev/kmsg.</summary>
    public DeviceNode Node() => new(0x1a4, 1, 11, (int flags, out SimulatedFile? file) =>
    {
        file = new LogFile(this);
        return 0;
    });

    /// <summary>An open /dev/kmsg: one record for each read. A reader never waits: without a record it gets EAGAIN, as with O_NONBLOCK.</summary>
    private sealed unsafe class LogFile(KernelLog log) : SimulatedFile
    {
        private long _next;

        /// <inheritdoc/>
        public override nint Read(ulong buffer, nuint count, IUserMemory user)
        {
            long next = _next;
            byte[]? record = log.Record(ref next, out bool lost);
            if (lost)
            {
                _next = next - (record is null ? 0 : 1);
                return -Errno.EPIPE;
            }

            if (record is null || (nuint)record.Length > count)
            {
                return record is null ? -Errno.EAGAIN : -Errno.EINVAL;
            }

            _next = next;
            fixed (byte* bytes = record)
            {
                // SAFETY: the record is as long as stated.
                int error = user.CopyTo(buffer, bytes, (nuint)record.Length);
                return error < 0 ? error : record.Length;
            }
        }
    }
}
