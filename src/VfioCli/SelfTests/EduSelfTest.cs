using System.Diagnostics;
using IommuFd;

namespace VfioCli.SelfTests;

/// <summary>
/// The self-test of QEMU's education device (1234:11e8, docs/specs/edu.rst) and of its twin in the simulator: registers, DMA in both directions
/// through the IOMMU, the interrupt at its end, and the proof that DMA to an IOVA that is no longer mapped does not arrive.
/// </summary>
/// <remarks>
/// Registers in BAR 0: 0x00 identification (major, minor, 0x00ed), 0x04 liveness (reads back inverted), 0x24 interrupt status, 0x64 interrupt
/// acknowledge, 0x80 DMA source, 0x88 DMA destination, 0x90 count, 0x98 command (bit 0 start, bit 1 from device to memory, bit 2 interrupt when
/// done). Its buffer of 4 KiB is at 0x40000.
/// </remarks>
internal static class EduSelfTest
{
    private const ulong Identification = 0x00, Liveness = 0x04, InterruptStatus = 0x24, InterruptAcknowledge = 0x64;
    private const ulong Source = 0x80, Destination = 0x88, Count = 0x90, Command = 0x98;
    private const ulong Start = 1, ToMemory = 2, WithInterrupt = 4;
    private const ulong DeviceBuffer = 0x40000;
    private const int Bytes = 2048;
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(10);

    /// <summary>Runs it on a device that is attached to <paramref name="space"/>.</summary>
    public static IReadOnlyList<SelfTestStep> Run(BoundDevice device, IoAddressSpace space)
    {
        List<SelfTestStep> steps = [];
        using ConfigSpace config = device.OpenConfigSpace();
        config.EnableBusMaster();
        using Bar bar = device.OpenBar(0);

        uint id = bar.Read32(Identification);
        if (!Step(steps, "identification", (id & 0xffff) == 0x00ed, $"0x{id:x8}"))
        {
            return steps;
        }

        bar.Write32(Liveness, 0x12345678);
        uint inverted = bar.Read32(Liveness);
        _ = Step(steps, "liveness", inverted == ~0x12345678u, $"wrote 0x12345678, read 0x{inverted:x8}");

        using InterruptSet interrupts = device.EnableInterrupts(Kind(device));
        Interrupt interrupt = interrupts[0];
        using DmaBuffer buffer = device.Context.Host.AllocateBuffer(4096);
        Span<byte> sent = buffer.Slice(0, Bytes), received = buffer.Slice(Bytes, Bytes);
        for (int i = 0; i < Bytes; i++)
        {
            sent[i] = (byte)((i * 7) + 3);
        }

        received.Clear();
        ulong iova;
        using (Mapping mapping = space.Map(buffer, DmaAccess.ReadWrite))
        {
            iova = mapping.Iova;
            string? failure = Transfer(bar, interrupt, iova, DeviceBuffer, WithInterrupt);
            _ = Step(steps, "bytes out", failure is null, failure ?? $"{Bytes} bytes read by the device from IOVA 0x{iova:x}");
            failure = Transfer(bar, interrupt, DeviceBuffer, iova + Bytes, ToMemory | WithInterrupt);
            bool equal = sent.SequenceEqual(received);
            _ = Step(steps, "bytes back", failure is null && equal, failure
                ?? (equal ? $"{Bytes} bytes written by the device to IOVA 0x{iova + Bytes:x} are the same" : "the bytes that came back differ"));
            _ = Step(steps, "interrupt", failure is null, failure ?? $"{interrupt.Kind} after each transfer");
        }

        // The memory is still ours, the IOVA is not: what the device writes there must not arrive.
        received.Fill(0x5a);
        string? late = Transfer(bar, interrupt, DeviceBuffer, iova + Bytes, ToMemory | WithInterrupt);
        bool untouched = !received.ContainsAnyExcept((byte)0x5a);
        _ = Step(steps, "unmapped IOVA", late is null && untouched, late
            ?? (untouched ? $"a write to 0x{iova + Bytes:x} after it was unmapped did not arrive" : "the device reached memory that is not mapped"));
        return steps;
    }

    // Null, or what went wrong.
    private static string? Transfer(Bar bar, Interrupt interrupt, ulong source, ulong destination, ulong command)
    {
        _ = interrupt.Take();
        bar.Write64(Source, source);
        bar.Write64(Destination, destination);
        bar.Write64(Count, Bytes);
        Interlocked.MemoryBarrier();
        bar.Write64(Command, Start | command);
        if (interrupt.Wait(s_patience) == 0)
        {
            return "no interrupt within 10 s";
        }

        bar.Write32(InterruptAcknowledge, bar.Read32(InterruptStatus));
        if (interrupt.Kind == InterruptKind.Intx)
        {
            interrupt.Unmask();
        }

        Stopwatch clock = Stopwatch.StartNew();
        while ((bar.Read64(Command) & Start) != 0)
        {
            if (clock.Elapsed > s_patience)
            {
                return "the transfer does not end";
            }

            Thread.Sleep(1);
        }

        return null;
    }

    private static InterruptKind Kind(BoundDevice device) => device.Calls.GetIrqInfo(InterruptKind.Msi).Count > 0
        ? InterruptKind.Msi
        : InterruptKind.Intx;

    private static bool Step(List<SelfTestStep> steps, string name, bool passed, string detail)
    {
        steps.Add(new SelfTestStep(name, passed, detail));
        return passed;
    }
}
