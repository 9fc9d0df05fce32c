using System.Runtime.InteropServices;

namespace IommuFd.Native;

internal sealed partial class TracingKernel
{
    private const uint LongestArgument = 16 * 1024;

    public int Ioctl(int fd, uint request, nint argument)
    {
        List<(string, TraceValue)> input = [(".fd", File(fd))];
        if (!Find(fd, request, out IoctlCommand command))
        {
            int unknown = inner.Ioctl(fd, request, argument);
            tracer.Write("ioctl", [.. input, (".request", TraceValue.Hex(request)), (".argument", TraceValue.Hex((ulong)argument))], null, unknown);
            return unknown;
        }

        input.Add((".request", new TraceValue(command.Name)));
        if (command.Passing != IoctlPassing.Pointer)
        {
            if (command.Passing != IoctlPassing.None)
            {
                input.Add((".argument", command.Passing == IoctlPassing.CString ? TraceValue.Quoted(String(argument)) : TraceValue.Of(argument)));
            }

            int plain = inner.Ioctl(fd, request, argument);
            if (command.Name == "VFIO_GROUP_GET_DEVICE_FD")
            {
                Name(plain, "vfio-device");
            }

            tracer.Write("ioctl", input, null, plain);
            return plain;
        }

        byte[] before = Argument(command, argument);
        List<(string Key, TraceValue Value)> fields = StructDecoder.Decode(command, before);
        input.AddRange(fields);
        AddRest(input, command, before);
        int result = inner.Ioctl(fd, request, argument);
        byte[] after = Argument(command, argument);

        // Only what the kernel changed is output.
        List<(string Key, TraceValue Value)> output = [];
        List<(string Key, TraceValue Value)> now = StructDecoder.Decode(command, after);
        for (int i = 0; i < now.Count; i++)
        {
            if (i >= fields.Count || now[i].Value.Text != fields[i].Value.Text)
            {
                output.Add(now[i]);
            }

            if (result >= 0 && now[i].Key.EndsWith("_fd", StringComparison.Ordinal) && now[i].Key.StartsWith("out_", StringComparison.Ordinal))
            {
                Name((int)now[i].Value.Number!.Value, command.Name);
            }
        }

        if (!after.AsSpan(Math.Min(after.Length, (int)command.FullSize)).SequenceEqual(before.AsSpan(Math.Min(before.Length, (int)command.FullSize))))
        {
            AddRest(output, command, after);
        }

        tracer.Write("ioctl", input, output, result);
        return result;
    }

    public nint Mmap(nint address, nuint length, int protection, int flags, int fd, long offset)
    {
        nint result = inner.Mmap(address, length, protection, flags, fd, offset);
        tracer.Write(
            "mmap",
            [
                (".address", TraceValue.Hex((ulong)address)), (".length", TraceValue.Hex(length)),
                (".protection", TraceValue.Flags((uint)protection, (Libc.PROT_NONE, "PROT_NONE"), (Libc.PROT_READ, "PROT_READ"),
                    (Libc.PROT_WRITE, "PROT_WRITE"))),
                (".flags", TraceValue.Flags(
                    (uint)flags, (Libc.MAP_SHARED, "MAP_SHARED"), (Libc.MAP_PRIVATE, "MAP_PRIVATE"), (Libc.MAP_FIXED, "MAP_FIXED"),
                    (Libc.MAP_ANONYMOUS, "MAP_ANONYMOUS"),
                    (Libc.MAP_NORESERVE, "MAP_NORESERVE"), (Libc.MAP_HUGETLB, "MAP_HUGETLB"), (Libc.MAP_POPULATE, "MAP_POPULATE"))),
                (".fd", File(fd)), (".offset", TraceValue.Hex((ulong)offset)),
            ],
            null, result, address: true);
        return result;
    }

    public int Munmap(nint address, nuint length) =>
        Done("munmap", inner.Munmap(address, length), (".address", TraceValue.Hex((ulong)address)), (".length", TraceValue.Hex(length)));

    public int Madvise(nint address, nuint length, int advice) => Done(
        "madvise", inner.Madvise(address, length, advice), (".address", TraceValue.Hex((ulong)address)), (".length", TraceValue.Hex(length)),
        (".advice", TraceValue.Of(advice)));

    public int Mbind(nint address, nuint length, int node) => Done(
        "mbind", inner.Mbind(address, length, node), (".address", TraceValue.Hex((ulong)address)), (".length", TraceValue.Hex(length)),
        ("node", TraceValue.Of(node)));

    // The same number means different things on different files; what the descriptor was opened as decides.
    private bool Find(int fd, uint request, out IoctlCommand command)
    {
        string name = _files.GetValueOrDefault(fd, "");
        ReadOnlySpan<(IoctlDialect, IoctlFile)> candidates = name switch
        {
            "/dev/iommu" =>
                [(IoctlDialect.Iommufd, IoctlFile.Iommu), (IoctlDialect.Rfc, IoctlFile.Iommu), (IoctlDialect.Vfio, IoctlFile.VfioContainer)],
            "/dev/vfio/vfio" => [(IoctlDialect.Vfio, IoctlFile.VfioContainer)],
            _ when name.StartsWith("/dev/vfio/devices/", StringComparison.Ordinal) || name == "vfio-device" =>
                [(IoctlDialect.Vfio, IoctlFile.VfioDevice), (IoctlDialect.Rfc, IoctlFile.VfioDevice)],
            _ when name.StartsWith("/dev/vfio/", StringComparison.Ordinal) => [(IoctlDialect.Vfio, IoctlFile.VfioGroup)],
            "/dev/kvm" => [(IoctlDialect.Rfc, IoctlFile.KvmVm)],
            _ =>
            [
                (IoctlDialect.Iommufd, IoctlFile.Iommu), (IoctlDialect.Vfio, IoctlFile.VfioDevice), (IoctlDialect.Vfio, IoctlFile.VfioMigrationData),
                (IoctlDialect.Vfio, IoctlFile.VfioGroup), (IoctlDialect.Rfc, IoctlFile.KvmVm),
            ],
        };
        foreach ((IoctlDialect dialect, IoctlFile file) in candidates)
        {
            if (IoctlCommands.TryFind(dialect, file, request, out command))
            {
                return true;
            }
        }

        command = default;
        return false;
    }

    // A struct states its own size in its first field; data of commands such as VFIO_DEVICE_SET_IRQS follows it.
    private byte[] Argument(in IoctlCommand command, nint address)
    {
        byte[] bytes = Copy(address, command.FullSize);
        if (bytes.Length < 4)
        {
            return bytes;
        }

        uint stated = MemoryMarshal.Read<uint>(bytes);
        return stated > command.FullSize && stated <= LongestArgument ? Copy(address, stated) : bytes;
    }

    private static void AddRest(List<(string, TraceValue)> values, in IoctlCommand command, byte[] bytes)
    {
        if (bytes.Length > command.FullSize)
        {
            values.Add(("data", TraceValue.Data(bytes[(int)command.FullSize..])));
        }
    }

    private string String(nint address)
    {
        byte[] bytes = Copy(address, 256);
        int end = Array.IndexOf(bytes, (byte)0);
        return System.Text.Encoding.UTF8.GetString(bytes, 0, end < 0 ? bytes.Length : end);
    }

    private int Done(string call, int result, params (string, TraceValue)[] input)
    {
        tracer.Write(call, input, null, result);
        return result;
    }
}
