using HwSim.Tests.Judges.Qemu;

namespace HwSim.Tests.Judges.Smmu;

/// <summary>What one 4-byte access came to: data, silence, or an event record's fields.</summary>
/// <param name="Reached">The access reached the memory that we expect.</param>
/// <param name="Event">Type of the event; 0 when there is none.</param>
/// <param name="Flags">Dword 3: RnW, S2, class.</param>
/// <param name="Input">Input address.</param>
/// <param name="Address">Page of the intermediate address, or the address that could not be fetched.</param>
public readonly record struct SmmuOutcome(bool Reached, uint Event = 0, uint Flags = 0, ulong Input = 0, ulong Address = 0)
{
    public const uint Read = 1 << 3, Stage2 = 1 << 7, Class = 3 << 8;

    /// <summary>
    /// Reads a record. Configuration faults have no further fields; page offsets of intermediate addresses are left out, for QEMU fills them.
    /// </summary>
    public static SmmuOutcome Of(ulong w0, ulong w1, ulong w2, ulong w3)
    {
        var type = (uint)w0 & 0xFF;
        return type is 0x10 or 0x11 or 0x12 or 0x13 or 0x0b
            ? new SmmuOutcome(false, type, (uint)(w1 >> 32) & (Read | Stage2 | Class), w2, type == 0x0b ? w3 : w3 & ~0xFFFUL)
            : new SmmuOutcome(false, type);
    }

    public override string ToString() =>
        Event != 0 ? $"event 0x{Event:x} flags 0x{Flags:x} 0x{Input:x} / 0x{Address:x}" : Reached ? "data" : "no data, no event";
}

/// <summary>One access of a batch.</summary>
public sealed record SmmuCase(EduDriver Edu, int Number, ulong Iova, bool Write, SmmuOutcome Ours, ulong Output)
{
    public int Answer { get; set; }

    public uint Marker { get; set; }

    public SmmuOutcome Theirs { get; set; }
}
