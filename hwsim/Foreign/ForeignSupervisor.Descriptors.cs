using IommuFd.HwSim.Kernel;
using IommuFd.Native;
using Libc = IommuFd.Native.Libc;

namespace IommuFd.HwSim.Foreign;

/// <summary>Reads, writes, mappings and questions about an open file of the machine.</summary>
internal sealed unsafe partial class ForeignSupervisor
{
    private void OnDescriptor(in SeccompCall call, ForeignProcess process)
    {
        var number = call.Number;
        var descriptor = (int)call.Arguments[number == _calls.mmap ? 4 : 0];
        var file = FileOf(in call, process, descriptor);
        if (file is null)
        {
            _listener.Continue(call.Id);
            return;
        }

        var (a, b, c) = (call.Arguments[1], call.Arguments[2], call.Arguments[3]);
        var memory = process.Memory;
        var traced = Calls(process, file);
        var offset = (long)c & ~SeccompFilter.RegionBias;
        if (number == _calls.pread64)
        {
            Finish(in call, process, file,
                traced is null ? file.Pread(a, (nuint)b, offset, memory) : traced.Pread(descriptor, (nint)a, (nuint)b, offset));
        }
        else if (number == _calls.pwrite64)
        {
            Finish(in call, process, file,
                traced is null ? file.Pwrite(a, (nuint)b, offset, memory) : traced.Pwrite(descriptor, (nint)a, (nuint)b, offset));
        }
        else if (number == _calls.read)
        {
            var result = traced is null ? file.Read(a, (nuint)b, memory) : traced.Read(descriptor, (nint)a, (nuint)b);
            if (file.HasReadiness)
            {
                _descriptors.TakeBackReadiness(process, descriptor, file);
            }

            Finish(in call, process, file, result);
        }
        else if (number == _calls.write)
        {
            Finish(in call, process, file, traced is null ? file.Write(a, (nuint)b, memory) : traced.Write(descriptor, (nint)a, (nuint)b));
        }
        else if (number == _calls.readv || number == _calls.writev || number == _calls.preadv || number == _calls.pwritev)
        {
            Finish(in call, process, file, Vectored(file, number, a, (int)b, (long)c & ~SeccompFilter.RegionBias, memory));
        }
        else if (number == _calls.mmap)
        {
            Map(in call, process, file, descriptor);
        }
        else if (number == _calls.fstat || number == _calls.newfstatat || number == _calls.statx)
        {
            Status(in call, process, file);
        }
        else if (number == _calls.dup || (number == _calls.fcntl && a is Libc.F_DUPFD or Libc.F_DUPFD_CLOEXEC))
        {
            var result = _descriptors.Duplicate(process, descriptor, number == _calls.fcntl && a == Libc.F_DUPFD_CLOEXEC);
            file.Put();
            if (result < 0)
            {
                _listener.Answer(call.Id, result);
            }
        }
        else if (number == _calls.fcntl)
        {
            if (a == Libc.F_SETFL)
            {
                file.NonBlocking = (b & Libc.O_NONBLOCK) != 0;
            }

            file.Put();
            _listener.Continue(call.Id);
        }
        else
        {
            // lseek and ftruncate: none of these files can.
            Finish(in call, process, file, number == _calls.lseek ? -Errno.ESPIPE : -Errno.EINVAL);
        }
    }

    // A file of the machine takes each vector as a call of its own, until one is short.
    private long Vectored(SimulatedFile file, int number, ulong vectors, int count, long offset, ForeignMemory memory)
    {
        if (count is < 0 or > 1024)
        {
            return -Errno.EINVAL;
        }

        long done = 0;
        var vector = stackalloc ulong[2];
        for (var i = 0; i < count; i++)
        {
            if (memory.CopyFrom(vectors + ((ulong)i * 16), vector, 16) < 0)
            {
                return done > 0 ? done : -Errno.EFAULT;
            }

            var length = (nuint)vector[1];
            var moved = number == _calls.readv ? file.Read(vector[0], length, memory)
                : number == _calls.writev ? file.Write(vector[0], length, memory)
                : number == _calls.preadv ? file.Pread(vector[0], length, offset + done, memory)
                : file.Pwrite(vector[0], length, offset + done, memory);
            if (moved < 0)
            {
                return done > 0 ? done : moved;
            }

            done += moved;
            if ((nuint)moved < length)
            {
                break;
            }
        }

        return done;
    }

    // The host's mmap can be let through, but not be told to map another descriptor. So the program's number becomes the memory file's for as long as
    // that takes.
    private void Map(in SeccompCall call, ForeignProcess process, SimulatedFile file, int descriptor)
    {
        var rc = file.MapSource((nuint)call.Arguments[1], (int)call.Arguments[2], (int)call.Arguments[3],
            (long)call.Arguments[5] & ~SeccompFilter.RegionBias, out var memory);
        if (rc == 0)
        {
            _numbers.Forget((uint)descriptor, (uint)descriptor);
            rc = _mappings.Lend(_listener, call.Id, process, descriptor,
                file.ForMapping((long)call.Arguments[5] & ~SeccompFilter.RegionBias), memory);
        }

        if (Trace?.Of(process, file, rc) is { } traced)
        {
            _ = traced.Mmap((nint)call.Arguments[0], (nuint)call.Arguments[1], (int)call.Arguments[2], (int)call.Arguments[3], descriptor,
                (long)call.Arguments[5]);
        }

        file.Put();
        if (rc == 0)
        {
            _listener.Continue(call.Id);
        }
        else
        {
            _listener.Answer(call.Id, rc);
        }
    }
}
