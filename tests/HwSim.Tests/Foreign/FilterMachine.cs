using IommuFd.HwSim.Foreign;
using Xunit;

namespace HwSim.Tests.Foreign;

/// <summary>
/// Runs a seccomp filter as the kernel does: classic BPF (linux/bpf_common.h) over struct seccomp_data, with the kernel's own checks of a program
/// (every jump lands inside, every path ends in a return).
/// </summary>
internal sealed class FilterMachine
{
    private readonly SeccompFilter.Instruction[] _program;

    public FilterMachine(SeccompFilter.Instruction[] program)
    {
        _program = program;
        Assert.InRange(program.Length, 1, 4096); // BPF_MAXINSNS
        for (int at = 0; at < program.Length; at++)
        {
            SeccompFilter.Instruction step = program[at];
            Assert.True((step.Code & 7) != 5 || at + 1 + Math.Max(step.JumpTrue, step.JumpFalse) < program.Length,
                $"instruction {at} jumps out of the program");
        }

        Assert.Equal(6, program[^1].Code & 7);
    }

    /// <summary>What the filter answers: SECCOMP_RET_* of one call.</summary>
    public uint Run(uint architecture, int number, params ReadOnlySpan<ulong> arguments)
    {
        // struct seccomp_data: nr, arch, instruction_pointer, args[6]; little-endian.
        byte[] data = new byte[64];
        BitConverter.TryWriteBytes(data, number);
        BitConverter.TryWriteBytes(data.AsSpan(4), architecture);
        for (int i = 0; i < arguments.Length; i++)
        {
            BitConverter.TryWriteBytes(data.AsSpan(16 + (8 * i)), arguments[i]);
        }

        uint accumulator = 0;
        for (int at = 0; ; at++)
        {
            SeccompFilter.Instruction step = _program[at];
            switch (step.Code)
            {
                case 0x20: // BPF_LD | BPF_W | BPF_ABS
                    Assert.True(step.Operand % 4 == 0 && step.Operand < 64, $"instruction {at} loads from {step.Operand}");
                    accumulator = BitConverter.ToUInt32(data, (int)step.Operand);
                    break;
                case 0x54: // BPF_ALU | BPF_AND | BPF_K
                    accumulator &= step.Operand;
                    break;
                case 0x15: // BPF_JMP | BPF_JEQ | BPF_K
                    at += accumulator == step.Operand ? step.JumpTrue : step.JumpFalse;
                    break;
                case 0x35: // BPF_JMP | BPF_JGE | BPF_K
                    at += accumulator >= step.Operand ? step.JumpTrue : step.JumpFalse;
                    break;
                case 0x45: // BPF_JMP | BPF_JSET | BPF_K
                    at += (accumulator & step.Operand) != 0 ? step.JumpTrue : step.JumpFalse;
                    break;
                case 0x06: // BPF_RET | BPF_K
                    return step.Operand;
                default:
                    Assert.Fail($"instruction {at} has the code 0x{step.Code:x}, which this machine does not know");
                    break;
            }
        }
    }
}
