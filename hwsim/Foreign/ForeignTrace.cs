using System.Collections.Concurrent;
using IommuFd.HwSim.Kernel;
using IommuFd.Native;

namespace IommuFd.HwSim.Foreign;

/// <summary>
/// A trace of programs' calls on the machine's files, in the form of <see cref="TracingHost"/>: lines for people, or JSON lines for <c>vfio
/// trace</c>.
/// </summary>
internal sealed class ForeignTrace(TextWriter? text, Stream? record) : IDisposable
{
    private readonly Tracer _tracer = new(text, record);
    private readonly ConcurrentDictionary<int, Calls> _byProcess = new();
    private readonly ThreadLocal<(SimulatedFile? File, long Result)> _served = new();

    /// <summary>The calls of a process on a file. With <paramref name="result"/>, a call that is made elsewhere and ends so.</summary>
    public TracingKernel Of(ForeignProcess process, SimulatedFile file, long result = long.MinValue)
    {
        _served.Value = (file, result);
        return CallsOf(process).Tracing;
    }

    /// <summary>A process opened a file.</summary>
    public void Opened(ForeignProcess process, string path, int flags, int result) => CallsOf(process).Tracing.Opened(path, flags, result);

    /// <summary>The last descriptor of a file was closed.</summary>
    public void Closed(ForeignProcess process, int number) => _ = CallsOf(process).Tracing.Close(number);

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var calls in _byProcess.Values)
        {
            calls.Tracing.Dispose();
        }

        _tracer.Dispose();
        _served.Dispose();
    }

    private Calls CallsOf(ForeignProcess process)
    {
        if (!_byProcess.TryGetValue(process.Id, out var calls))
        {
            calls = _byProcess.GetOrAdd(process.Id, new Calls(this, process));
        }

        return calls;
    }

    // The system calls of one process as a kernel: the file is the one that the present thread serves. What programs do without this simulator is
    // -ENOSYS.
    private sealed unsafe class Calls : IKernel
    {
        private readonly ForeignTrace _trace;
        private readonly ForeignMemory _memory;

        public Calls(ForeignTrace trace, ForeignProcess process)
        {
            _trace = trace;
            _memory = process.Memory;
            Tracing = new TracingKernel(this, trace._tracer, Copy);
        }

        public TracingKernel Tracing { get; }

        private SimulatedFile File => _trace._served.Value.File!;

        public int Ioctl(int fd, uint request, nint argument) => File.Ioctl(request, (ulong)argument, _memory);

        public nint Read(int fd, nint buffer, nuint count) => File.Read((ulong)buffer, count, _memory);

        public nint Write(int fd, nint buffer, nuint count) => File.Write((ulong)buffer, count, _memory);

        public nint Pread(int fd, nint buffer, nuint count, long offset) => File.Pread((ulong)buffer, count, offset, _memory);

        public nint Pwrite(int fd, nint buffer, nuint count, long offset) => File.Pwrite((ulong)buffer, count, offset, _memory);

        public nint Mmap(nint address, nuint length, int protection, int flags, int fd, long offset) => (nint)_trace._served.Value.Result;

        public int Open(string path, int flags, int mode) => -Errno.ENOSYS;

        public int Close(int fd) => 0;

        public int Munmap(nint address, nuint length) => -Errno.ENOSYS;

        public int Madvise(nint address, nuint length, int advice) => -Errno.ENOSYS;

        public int Mbind(nint address, nuint length, int node) => -Errno.ENOSYS;

        public int Poll(nint descriptors, uint count, int timeoutMilliseconds) => -Errno.ENOSYS;

        public int EpollCreate(int flags) => -Errno.ENOSYS;

        public int EpollControl(int epoll, int operation, int fd, uint events, ulong token) => -Errno.ENOSYS;

        public int EpollWait(int epoll, nint ready, int count, int timeoutMilliseconds) => -Errno.ENOSYS;

        public int EventFd(uint initialValue, int flags) => -Errno.ENOSYS;

        public int MemFdCreate(string name, uint flags) => -Errno.ENOSYS;

        public int Ftruncate(int fd, long length) => -Errno.ENOSYS;

        public int Fcntl(int fd, int command, nint argument) => -Errno.ENOSYS;

        public int SocketPair(int type, nint pair) => -Errno.ENOSYS;

        public nint SendDescriptors(int socket, nint payload, nuint payloadLength, nint fds, int fdCount) => -Errno.ENOSYS;

        public nint ReceiveDescriptors(int socket, nint payload, nuint payloadLength, nint fds, ref int fdCount) => -Errno.ENOSYS;

        public int GetResourceLimit(int resource, out ulong soft, out ulong hard)
        {
            (soft, hard) = (0, 0);
            return -Errno.ENOSYS;
        }

        public int SetResourceLimit(int resource, ulong soft, ulong hard) => -Errno.ENOSYS;

        private byte[] Copy(nint address, ulong length)
        {
            // Page by page, so that what can be read is read.
            var bytes = new byte[Math.Min(length, 65536)];
            var done = 0;
            fixed (byte* buffer = bytes)
            {
                while (done < bytes.Length)
                {
                    var piece = Math.Min(bytes.Length - done, 4096 - (int)(((ulong)address + (ulong)done) % 4096));
                    if (address == 0 || _memory.CopyFrom((ulong)address + (ulong)done, buffer + done, (nuint)piece) < 0)
                    {
                        break;
                    }

                    done += piece;
                }
            }

            return bytes[..done];
        }
    }
}
