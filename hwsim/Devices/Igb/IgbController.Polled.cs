using static IommuFd.HwSim.Devices.Igb.IgbRegister;

namespace IommuFd.HwSim.Devices.Igb;

// BAR 0 as mapped memory.
public sealed unsafe partial class IgbController
{
    // General and interrupt registers; queues, filters, statistics; the places of queues 4 to 15.
    private static readonly (int Start, int Count)[] s_polled = [(0, 0x6000 / 4), (0xb600 / 4, 0x40), (0xc000 / 4, 0x100), (0xe000 / 4, 0x100)];

    // An interrupt is asked for after the masks are set, a mask set after it would keep it back; then receive and transmit tails.
    private static readonly int[] s_last =
    [
        (int)EICS / 4, (int)EIMC / 4, (int)ICS / 4, (int)IMC / 4, .. Tails(Receive, ReceiveAlias), .. Tails(Transmit, TransmitAlias),
    ];

    private static readonly int[] s_first = [(int)CTRL / 4, (int)EICR / 4];

    int IPolledRegisters.PolledBar => 0;

    uint[] IPolledRegisters.RegisterFile => _registers;

    IReadOnlyList<(int Start, int Count)> IPolledRegisters.PolledWords => s_polled;

    IReadOnlyList<int> IPolledRegisters.AppliedFirst => s_first;

    IReadOnlyList<int> IPolledRegisters.AppliedLast => s_last;

    void IPolledRegisters.WriteRegister(int word, uint value) => Write((uint)word * 4, value);

    private static IEnumerable<int> Tails(uint direction, uint alias) =>
        Enumerable.Range(0, Queues).Select(queue => (int)(direction + ((uint)queue * QueueStride) + Tail) / 4)
            .Concat(Enumerable.Range(0, 4).Select(queue => (int)(alias + ((uint)queue * AliasStride) + Tail) / 4));
}
