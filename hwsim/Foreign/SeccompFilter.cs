using System.Runtime.InteropServices;

namespace IommuFd.HwSim.Foreign;

/// <summary>
/// The filter that decides, inside the host's kernel, which system calls of a program are the simulated machine's business. Everything else runs at
/// full speed: calls that are not named here are not even looked at (the kernel caches the answer by number).
/// </summary>
/// <remarks>
/// Looked at: every open, because only its path tells; every ioctl of VFIO's and iommufd's type <c>';'</c>, whatever the descriptor; calls on a
/// descriptor in the reserved range; pread, pwrite and mmap at an offset from <see cref="RegionBias"/> on; a short write to descriptor 1, because a
/// shell's redirection moves a sysfs attribute there; and what ends numbers of the range (close, close_range, dup2, dup3, and execve for
/// close-on-exec), which the host then does.
/// </remarks>
internal static class SeccompFilter
{
    /// <summary>
    /// Added to every offset that a program is told for a VFIO region, so that an access is recognised by its offset even when the descriptor was
    /// moved by dup2 or came through a socket. No ordinary file reaches 4 EiB.
    /// </summary>
    public const long RegionBias = Devices.DeviceMemory.MapBias;

    /// <summary>Longest write to descriptor 1 that is looked at: a sysfs attribute takes one page at most.</summary>
    public const int ShortWrite = 4096;

    private const uint IoctlType = ';';

    // linux/bpf_common.h
    private const ushort LoadWord = 0x20, JumpEqual = 0x15, JumpGreaterOrEqual = 0x35, JumpSet = 0x45, And = 0x54, Return = 0x06;
    private const uint Allow = 0x7fff0000, Notify = 0x7fc00000; // SECCOMP_RET_*
    private const uint NumberOffset = 0, ArchitectureOffset = 4;

    /// <summary>struct sock_filter.</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal readonly record struct Instruction(ushort Code, byte JumpTrue, byte JumpFalse, uint Operand);

    /// <summary>Makes the program.</summary>
    /// <param name="calls">The numbers.</param>
    /// <param name="firstDescriptor">First descriptor of the reserved range.</param>
    /// <param name="endDescriptor">The descriptor after its last one.</param>
    public static Instruction[] Build(SystemCalls calls, int firstDescriptor, int endDescriptor)
    {
        List<Instruction> program =
        [
            new(LoadWord, 0, 0, ArchitectureOffset),
            new(JumpEqual, 1, 0, calls.Architecture),
            new(Return, 0, 0, Allow),
        ];

        // One block a call: "if this is the number { body; allow }". Little-endian: the low word of an argument comes first.
        void Block(int number, params ReadOnlySpan<Instruction> body)
        {
            if (number >= 0)
            {
                program.Add(new(LoadWord, 0, 0, NumberOffset));
                program.Add(new(JumpEqual, 0, (byte)(body.Length + 1), (uint)number));
                program.AddRange(body);
                program.Add(new(Return, 0, 0, Allow));
            }
        }

        // "notify if the descriptor is in the range"; falls through otherwise.
        Instruction[] inRange(int argument) =>
        [
            new(LoadWord, 0, 0, Low(argument)),
            new(JumpGreaterOrEqual, 0, 2, (uint)firstDescriptor),
            new(JumpGreaterOrEqual, 1, 0, (uint)endDescriptor),
            new(Return, 0, 0, Notify),
        ];
        var reserved = inRange(0);
        Instruction notify = new(Return, 0, 0, Notify);
        Instruction[] region(int argument) =>
            [.. reserved, new(LoadWord, 0, 0, High(argument)), new(JumpSet, 0, 1, (uint)(RegionBias >> 32)), notify];

        Block(calls.ioctl, new(LoadWord, 0, 0, Low(1)), new(And, 0, 0, 0xff00), new(JumpEqual, 0, 1, IoctlType << 8), notify);
        foreach (var number in (int[])[calls.open, calls.openat, calls.openat2, calls.creat])
        {
            Block(number, notify);
        }

        Block(calls.write,
        [
            .. reserved,
            new(LoadWord, 0, 0, Low(0)), new(JumpEqual, 0, 5, 1),
            new(LoadWord, 0, 0, High(2)), new(JumpEqual, 0, 3, 0),
            new(LoadWord, 0, 0, Low(2)), new(JumpGreaterOrEqual, 1, 0, ShortWrite + 1), notify,
        ]);
        Block(calls.mmap,
        [
            new(LoadWord, 0, 0, Low(3)), new(JumpSet, (byte)(reserved.Length + 3), 0, Native.Libc.MAP_ANONYMOUS),
            .. new Instruction[] { new(LoadWord, 0, 0, Low(4)), new(JumpGreaterOrEqual, 0, 2, (uint)firstDescriptor),
                new(JumpGreaterOrEqual, 1, 0, (uint)endDescriptor), notify },
            new(LoadWord, 0, 0, High(5)), new(JumpSet, 0, 1, (uint)(RegionBias >> 32)), notify,
        ]);
        Block(calls.pread64, region(3));
        Block(calls.pwrite64, region(3));
        foreach (var number in (int[])[calls.read, calls.readv, calls.writev, calls.preadv, calls.pwritev, calls.fstat, calls.newfstatat, calls.statx,
            calls.lseek, calls.ftruncate, calls.dup, calls.fcntl, calls.close])
        {
            Block(number, reserved);
        }

        // What ends a number: the host does it, but what is known of the number is forgotten first.
        Block(calls.dup2, inRange(1));
        Block(calls.dup3, inRange(1));
        Block(calls.close_range, new(LoadWord, 0, 0, Low(1)), new(JumpGreaterOrEqual, 0, 1, (uint)firstDescriptor), notify);
        Block(calls.execve, notify);
        Block(calls.execveat, notify);

        program.Add(new(Return, 0, 0, Allow));
        return [.. program];
    }

    private static uint Low(int argument) => (uint)(16 + (8 * argument));

    private static uint High(int argument) => Low(argument) + 4;
}
