using System.Diagnostics;
using IommuFd;

namespace RfcFlows;

/// <summary>
/// The simulator's test device for PASIDs (1234:a51d, docs/topology.md): a channel reads memory into a buffer that the program can see, with a PASID,
/// and asks for pages that are missing (ATS and PRI).
/// </summary>
internal sealed class PasidProbe : IDmaProbe
{
    private const ulong Features = 0x04, Pasid = 0x08, Control = 0x0c, Iova = 0x10, Length = 0x18, Offset = 0x1c, Command = 0x20, Status = 0x24,
        Buffers = 0x10000;
    private const uint HasPasid = 1u << 31, UseAts = 1, UsePri = 2, HasPri = 4, Read = 1, Busy = 1, Done = 2;
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(30);

    private readonly Bar _registers;

    public PasidProbe(BoundDevice device)
    {
        _registers = device.OpenBar(0);
    }

    /// <summary>Whether it asks for pages that are missing, rather than giving up.</summary>
    public bool AsksForPages { get; set; }

    public void Begin(ulong iova, uint? pasid)
    {
        _registers.Write32(Pasid, pasid is { } number ? HasPasid | number : 0);
        _registers.Write32(Control, AsksForPages && (_registers.Read32(Features) & HasPri) != 0 ? UseAts | UsePri : 0);
        _registers.Write64(Iova, iova);
        _registers.Write32(Length, 8);
        _registers.Write32(Offset, 0);
        _registers.Write32(Command, Read);
    }

    public ulong? End()
    {
        long started = Stopwatch.GetTimestamp();
        uint status;
        while ((status = _registers.Read32(Status)) == Busy)
        {
            if (Stopwatch.GetElapsedTime(started) > s_patience)
            {
                throw new TimeoutException("The device waits for a page that nobody gives.");
            }

            Thread.Sleep(1);
        }

        return status == Done ? _registers.Read64(Buffers) : null;
    }

    public void Dispose() => _registers.Dispose();
}
