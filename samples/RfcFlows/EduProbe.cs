using System.Buffers.Binary;
using System.Diagnostics;
using IommuFd;

namespace RfcFlows;

/// <summary>
/// QEMU's educational device (docs/specs/edu.rst): it moves bytes between memory and a buffer of its own, which the program cannot see. So what it
/// read is written to a mailbox in memory. It says nothing of DMA that was refused: then the mailbox does not change, or not to what is in memory.
/// </summary>
internal sealed class EduProbe : IDmaProbe
{
    private const ulong Source = 0x80, Destination = 0x88, Count = 0x90, Command = 0x98, DeviceBuffer = 0x40000;
    private const ulong Start = 1, ToMemory = 2;
    private const ulong Blank = 0x626c_616e_6b21_2121;
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(30);

    private readonly Bar _registers;
    private readonly Memory<byte> _mailbox;
    private readonly ulong _mailboxIova;

    public EduProbe(BoundDevice device, Memory<byte> mailbox, ulong mailboxIova)
    {
        _registers = device.OpenBar(0);
        _mailbox = mailbox;
        _mailboxIova = mailboxIova;
    }

    public void Begin(ulong iova, uint? pasid)
    {
        if (pasid is not null)
        {
            throw new NotSupportedException("The educational device issues no PASIDs.");
        }

        // Two words: what fills the device's buffer first, and what comes out of it at the end.
        BinaryPrimitives.WriteUInt64LittleEndian(_mailbox.Span, Blank);
        BinaryPrimitives.WriteUInt64LittleEndian(_mailbox.Span[8..], Blank);
        Transfer(_mailboxIova, DeviceBuffer, Start);
        Transfer(iova, DeviceBuffer, Start);
        Transfer(DeviceBuffer, _mailboxIova + 8, Start | ToMemory);
    }

    public ulong? End() => BinaryPrimitives.ReadUInt64LittleEndian(_mailbox.Span[8..]) switch
    {
        Blank or 0 or ulong.MaxValue => null, // nothing arrived, or what a bus reads where nobody answers
        ulong word => word,
    };

    public void Dispose() => _registers.Dispose();

    private void Transfer(ulong source, ulong destination, ulong command)
    {
        _registers.Write64(Source, source);
        _registers.Write64(Destination, destination);
        _registers.Write64(Count, 8);
        Interlocked.MemoryBarrier(); // what the device is to read is in memory before it is told to
        _registers.Write64(Command, command);
        long started = Stopwatch.GetTimestamp();
        while ((_registers.Read64(Command) & Start) != 0)
        {
            if (Stopwatch.GetElapsedTime(started) > s_patience)
            {
                throw new TimeoutException("The device's DMA does not end.");
            }

            Thread.Sleep(1);
        }

        Interlocked.MemoryBarrier();
    }
}
