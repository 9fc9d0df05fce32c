using System.Text;
using IommuFd;

namespace Guide;

/// <summary>Chapter 2: the device copies memory; the program asks until it is done.</summary>
public static class FirstDma
{
    private const ulong Source = 0x80, Destination = 0x88, Count = 0x90, Command = 0x98, DeviceBuffer = 0x40000;
    private const ulong Start = 1, ToMemory = 2;

    /// <summary>Sends a text into the device's buffer and back to another place.</summary>
    public static string Run(Bar bar, DmaBuffer buffer, Mapping mapping)
    {
        ArgumentNullException.ThrowIfNull(buffer);
        ArgumentNullException.ThrowIfNull(mapping);
        int length = Encoding.ASCII.GetBytes("through the device", buffer.Slice(0, 256));
        Move(bar, mapping.Iova, DeviceBuffer, length, Start);
        Move(bar, DeviceBuffer, mapping.Iova + 1024, length, Start | ToMemory);
        return Encoding.ASCII.GetString(buffer.Slice(1024, length));
    }

    private static void Move(Bar bar, ulong source, ulong destination, int length, ulong command)
    {
        bar.Write64(Source, source);
        bar.Write64(Destination, destination);
        bar.Write64(Count, (ulong)length);
        Interlocked.MemoryBarrier(); // what the device is to read is in memory before it is told to
        bar.Write64(Command, command);
        while ((bar.Read64(Command) & Start) != 0)
            Thread.Yield();
    }
}
