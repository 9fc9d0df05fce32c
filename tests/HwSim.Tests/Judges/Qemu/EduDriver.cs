namespace HwSim.Tests.Judges.Qemu;

/// <summary>QEMU's educational device as a source of DMA.</summary>
/// <remarks>
/// A DMA that faults is cut by QEMU into naturally aligned accesses of at most 4 bytes, each with its own fault record: 4 aligned bytes make exactly
/// one.
/// </remarks>
public sealed class EduDriver
{
    private const ulong Buffer = 0x40000;
    private readonly JudgeMachine _machine;
    private readonly ulong _bar;

    internal EduDriver(JudgeMachine machine, int slot, ulong bar)
    {
        _machine = machine;
        _bar = bar;
        RequesterId = (ushort)(slot << 3);
        machine.WriteConfig(slot, 0x10, (uint)bar);
        machine.WriteConfig(slot, 0x04, 6);
        var identity = machine.Qtest.Read(4, bar);
        machine.Qtest.Flush();
        if (machine.Qtest[identity] != 0x0100_00ed)
            throw new InvalidOperationException($"The edu device at slot {slot} answers 0x{machine.Qtest[identity]:x}.");
    }

    /// <summary>Bus 0, slot, function 0.</summary>
    public ushort RequesterId { get; }

    /// <summary>Queues the start of a DMA of 4 bytes between the device's buffer and an IOVA.</summary>
    public void Start(ulong iova, bool write)
    {
        var qtest = _machine.Qtest;
        qtest.Write(8, _bar + 0x80, write ? Buffer : iova);
        qtest.Write(8, _bar + 0x88, write ? iova : Buffer);
        qtest.Write(8, _bar + 0x90, 4);
        qtest.Write(8, _bar + 0x98, write ? 3UL : 1UL);
    }

    /// <summary>Waits until the DMA is done.</summary>
    public void Wait()
    {
        var qtest = _machine.Qtest;
        for (var i = 0; i < 100_000; i++)
        {
            var status = qtest.Read(8, _bar + 0x98);
            qtest.Flush();
            if ((qtest[status] & 1) == 0)
                return;
            // Polling keeps QEMU from running the CPU whose idleness moves its clock: on a busy machine it must get a chance.
            if (i >= 16)
                Thread.Sleep(1);
        }

        throw new InvalidOperationException("The edu device does not finish its DMA.");
    }
}
