using System.Globalization;
using System.Text.Json;
using IommuFd.Native;
using Libc = IommuFd.Native.Libc;

namespace IommuFd.HwSim.Foreign;

/// <summary>
/// Makes the calls of a record once more, on a fresh machine, so that what a record shows can be compared with what the machine does. The record is
/// that of <see cref="TracingHost"/> or of <c>vfio sim run --trace FILE.jsonl</c>.
/// </summary>
/// <remarks>
/// Memory, eventfds and descriptors are new ones in the places of the recorded ones; data behind pointers is zero. Not repeated: calls that are no
/// business of the machine (poll, epoll, sockets), and IOAS_MAP_FILE, whose file is not in the record.
/// </remarks>
public sealed unsafe class TraceReplay : IDisposable
{
    private const nuint Scratch = 1 << 20;
    private const ulong HugePage = 2 << 20;
    private readonly TracingHost _host;
    private readonly Dictionary<int, int> _descriptors = [];
    private readonly Dictionary<ulong, nint> _memory = [];
    private readonly IKernel _machine;
    private readonly nint _scratch;

    /// <summary>A replay on a machine.</summary>
    /// <param name="machine">A fresh one; disposed with this.</param>
    /// <param name="record">Gets the record of the replay, a line for each line that can be repeated.</param>
    public TraceReplay(SimulatedHost machine, Stream record)
    {
        _host = new TracingHost(machine, null, record);
        _machine = machine.Kernel;
        _scratch = _machine.Mmap(0, Scratch, Libc.PROT_READ | Libc.PROT_WRITE, Libc.MAP_PRIVATE | Libc.MAP_ANONYMOUS, -1, 0);
    }

    /// <summary>Repeats one recorded call.</summary>
    /// <returns>False when it cannot be repeated; then nothing was called.</returns>
    public bool Repeat(JsonElement call)
    {
        if (!call.TryGetProperty("call", out var name) || !call.TryGetProperty("in", out var input)
            || !call.TryGetProperty("result", out var recorded))
        {
            return false;
        }

        var kernel = _host.Kernel;
        switch (name.GetString())
        {
            case "open":
                var opened = kernel.Open(Text(input, "path"), Flags(Text(input, "flags")), 0);
                if (recorded.GetInt64() >= 0 && opened >= 0)
                {
                    _descriptors[(int)recorded.GetInt64()] = opened;
                }

                return true;
            case "close":
                if (_descriptors.Remove(Recorded(input), out var closed))
                {
                    _ = kernel.Close(closed);
                    return true;
                }

                return false;
            case "ioctl":
                return Ioctl(input, call, recorded.GetInt64());
            case "pread64":
                _ = kernel.Pread(Descriptor(input), _scratch, (nuint)Number(input, "count"), Offset(input));
                return true;
            case "read":
                _ = kernel.Read(Descriptor(input), _scratch, (nuint)Number(input, "count"));
                return true;
            case "pwrite64":
                _ = kernel.Pwrite(Descriptor(input), _scratch, Data(input), Offset(input));
                return true;
            case "write":
                _ = kernel.Write(Descriptor(input), _scratch, Data(input));
                return true;
            default:
                return false;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _host.Dispose();

    private bool Ioctl(JsonElement input, JsonElement call, long recorded)
    {
        if (!TryFind(Text(input, "request"), out var command) || command.Name == "IOMMU_IOAS_MAP_FILE")
        {
            return false;
        }

        if (command.Passing != IoctlPassing.Pointer)
        {
            var value = input.TryGetProperty("argument", out var argument) && argument.ValueKind == JsonValueKind.Number
                ? (nint)argument.GetInt64()
                : 0;
            Learn(_host.Kernel.Ioctl(Descriptor(input), command.Request, value), recorded, command.Name == "VFIO_GROUP_GET_DEVICE_FD");
            return true;
        }

        var rest = input.TryGetProperty("data", out var data) ? Convert.FromHexString(data.GetString()!) : [];
        var bytes = new byte[command.FullSize + (uint)rest.Length];
        foreach (var field in input.EnumerateObject())
        {
            _ = StructDecoder.Encode(command, field.Name, field.Value, bytes.AsSpan(0, (int)command.FullSize));
        }

        rest.CopyTo(bytes.AsSpan((int)command.FullSize));
        Replace(command, input, bytes);
        fixed (byte* pointer = bytes)
        {
            // SAFETY: the array is as long as the command states; pointers in it lead to memory of this object.
            _ = _host.Kernel.Ioctl(Descriptor(input), command.Request, (nint)pointer);
        }

        if (call.TryGetProperty("out", out var output))
        {
            foreach (var field in output.EnumerateObject().Where(static f => f.Name.EndsWith("_fd", StringComparison.Ordinal)))
            {
                foreach (var (key, value) in StructDecoder.Decode(command, bytes))
                {
                    if (key == field.Name)
                    {
                        _descriptors[field.Value.GetInt32()] = (int)value.Number!.Value;
                    }
                }
            }
        }

        return true;
    }

    // What means something in the recorded process only: addresses, descriptors, eventfds.
    private void Replace(in IoctlCommand command, JsonElement input, byte[] bytes)
    {
        foreach (var field in input.EnumerateObject())
        {
            if (field.Value.ValueKind != JsonValueKind.Number)
            {
                continue;
            }

            nint? value = field.Name switch
            {
                "user_va" or "vaddr" => Memory(field.Value.GetUInt64(), Number(input, input.TryGetProperty("length", out _) ? "length" : "size")),
                "iommufd" or "kvm_fd" => _descriptors.GetValueOrDefault(field.Value.GetInt32(), -1),
                _ when field.Name.EndsWith("_uptr", StringComparison.Ordinal)
                    || field.Name is "allowed_iovas" or "data" => field.Value.GetUInt64() == 0 ? 0 : _scratch,
                _ => null,
            };
            if (value is { } replaced)
            {
                using var number = JsonDocument.Parse(((long)replaced).ToString(CultureInfo.InvariantCulture));
                _ = StructDecoder.Encode(command, field.Name, number.RootElement, bytes.AsSpan(0, (int)command.FullSize));
            }
        }

        if (command.Name == "VFIO_DEVICE_SET_IRQS" && (Number(input, "flags") & 4) != 0)
        {
            for (var at = (int)command.FullSize; at + sizeof(int) <= bytes.Length; at += sizeof(int))
            {
                if (BitConverter.ToInt32(bytes, at) >= 0)
                {
                    BitConverter.TryWriteBytes(bytes.AsSpan(at), _machine.EventFd(0, Libc.EFD_CLOEXEC));
                }
            }
        }
    }

    private nint Memory(ulong recorded, ulong length)
    {
        // Within its page, for that is where alignment shows.
        var page = recorded & ~4095UL;
        if (recorded == 0)
        {
            return 0;
        }

        if (!_memory.TryGetValue(page, out var address))
        {
            // Alignment decides what the kernel chooses: the same within 2 MiB.
            address = _machine.Mmap(0, (nuint)(length + (2 * HugePage) + 4096), Libc.PROT_READ | Libc.PROT_WRITE,
                Libc.MAP_PRIVATE | Libc.MAP_ANONYMOUS | Libc.MAP_NORESERVE, -1, 0);
            address = address < 0 ? 0 : (nint)((((ulong)address + HugePage - 1) & ~(HugePage - 1)) + (page % HugePage));
            _memory[page] = address;
        }

        return address == 0 ? 0 : address + (nint)(recorded - page);
    }

    private void Learn(int result, long recorded, bool isDescriptor)
    {
        if (isDescriptor && result >= 0 && recorded >= 0)
        {
            _descriptors[(int)recorded] = result;
        }
    }

    private static bool TryFind(string name, out IoctlCommand command)
    {
        foreach (var candidate in IoctlCommands.Iommufd.Concat(IoctlCommands.Vfio).Concat(IoctlCommands.Rfc))
        {
            if (candidate.Name == name)
            {
                command = candidate;
                return true;
            }
        }

        command = default;
        return false;
    }

    private nuint Data(JsonElement input)
    {
        var bytes = Convert.FromHexString(Text(input, "data"));
        var length = Math.Min(bytes.Length, (int)Scratch);
        bytes.AsSpan(0, length).CopyTo(new Span<byte>((void*)_scratch, length));
        return (nuint)length;
    }

    private int Descriptor(JsonElement input) => _descriptors.GetValueOrDefault(Recorded(input), -1);

    private static int Recorded(JsonElement input)
    {
        var text = input.TryGetProperty("fd", out var fd) ? fd.ToString() : "";
        var end = text.IndexOf('<', StringComparison.Ordinal);
        return int.TryParse(end < 0 ? text : text[..end], CultureInfo.InvariantCulture, out var number) ? number : -1;
    }

    private static long Offset(JsonElement input) => (long)Number(input, "offset") & ~SeccompFilter.RegionBias;

    private static string Text(JsonElement input, string name) => input.TryGetProperty(name, out var value) ? value.ToString() : "";

    private static ulong Number(JsonElement input, string name) =>
        input.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.Number ? value.GetUInt64() : 0;

    private static int Flags(string text) => ulong.TryParse(text, CultureInfo.InvariantCulture, out var number) ? (int)number
        : (text.Contains("O_RDWR", StringComparison.Ordinal) ? Libc.O_RDWR : text.Contains("O_WRONLY", StringComparison.Ordinal) ? Libc.O_WRONLY : 0)
        | (text.Contains("O_NONBLOCK", StringComparison.Ordinal) ? Libc.O_NONBLOCK : 0);
}
