using static IommuFd.HwSim.Devices.Igb.IgbRegister;

namespace IommuFd.HwSim.Devices.Igb;

// BAR 0 as mapped memory.
public sealed unsafe partial class IgbController
{
    // General and interrupt registers; queues, filters, statistics; the places of queues 4 to 15.
    private static readonly (int Start, int Count)[] s_polled = [(0, 0x6000 / 4), (0xb600 / 4, 0x40), (0xc000 / 4, 0x100), (0xe000 / 4, 0x100)];

    // All interrupts are masked before some are unmasked: a driver that does both at once wants these.
    private static readonly int[] s_first = [(int)CTRL / 4, (int)EICR / 4, (int)IMC / 4, (int)Alias(IMC) / 4];

    // An interrupt is asked for after the masks are set; a vector is masked before a tail; then receive and transmit tails.
    private static readonly int[] s_last = [(int)EICS / 4, (int)EIMC / 4, (int)ICS / 4, .. Tails(Receive, ReceiveAlias),
        .. Tails(Transmit, TransmitAlias)];

    // Bit 29 is reserved in all of them.
    private static readonly (int Word, uint Bit)[] s_marks =
        [.. new[] { EIMS, EICR, IMS, Alias(IMS), VFLRE, MBVFICR }.Select(static register => ((int)register / 4, 1u << 29))];

    private uint _shownCauses;

    int IPolledRegisters.PolledBar => 0;

    uint[] IPolledRegisters.RegisterFile => _registers;

    IReadOnlyList<(int Start, int Count)> IPolledRegisters.PolledWords => s_polled;

    IReadOnlyList<int> IPolledRegisters.AppliedFirst => s_first;

    IReadOnlyList<int> IPolledRegisters.AppliedLast => s_last;

    IReadOnlyList<(int Word, uint Bit)> IPolledRegisters.Marks => s_marks;

    // The thread does not see that ICR is read. A driver reads it between masking and unmasking, so what it saw then is cleared when it unmasks.
    void IPolledRegisters.WriteRegister(int word, uint value)
    {
        uint offset = Canonical((uint)word * 4);
        if (offset == IMC)
        {
            _shownCauses |= Register(ICR);
        }
        else if (offset == IMS)
        {
            Store(ICR, Register(ICR) & ~_shownCauses);
            _shownCauses = 0;
        }

        Write(offset, value);
    }

    private static IEnumerable<int> Tails(uint direction, uint alias) =>
        Enumerable.Range(0, Queues).Select(queue => (int)(direction + ((uint)queue * QueueStride) + Tail) / 4)
            .Concat(Enumerable.Range(0, 4).Select(queue => (int)(alias + ((uint)queue * AliasStride) + Tail) / 4));
}
