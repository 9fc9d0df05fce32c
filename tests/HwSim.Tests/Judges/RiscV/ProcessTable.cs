using IommuFd.HwSim;

namespace HwSim.Tests.Judges.RiscV;

/// <summary>A process directory of one level (PD8): 256 entries of 16 bytes.</summary>
public sealed class ProcessTable(PhysicalMemory memory) : IDisposable
{
    public ulong Address { get; } = memory.Allocate();

    public uint ProcessId { get; private set; }

    /// <summary>Makes this the only process.</summary>
    public void Set(uint processId, ulong fsc)
    {
        memory.Write64(Address + (ProcessId * 16), 0);
        ProcessId = processId;
        memory.Write64(Address + (processId * 16), 1 | ((ulong)processId << 12));
        memory.Write64(Address + (processId * 16) + 8, fsc);
    }

    public void Dispose() => memory.Free(Address);
}
