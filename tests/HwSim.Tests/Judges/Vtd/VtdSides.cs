using HwSim.Tests.Judges.Qemu;
using IommuFd.HwSim.Units;

namespace HwSim.Tests.Judges.Vtd;

/// <summary>What one 4-byte access came to, as both sides can tell it.</summary>
/// <param name="Reached">The access reached the memory that we expect.</param>
/// <param name="Reason">Fault reason of the record; 0 when none was made.</param>
/// <param name="IsRead">The record's type.</param>
/// <param name="Page">The record's page address.</param>
/// <param name="SourceId">The record's requester.</param>
public readonly record struct VtdOutcome(bool Reached, uint Reason, bool IsRead = false, ulong Page = 0, ushort SourceId = 0)
{
    public override string ToString() =>
        Reason != 0 ? $"fault 0x{Reason:x} {(IsRead ? "read" : "write")} 0x{Page:x} from {SourceId:x4}" : Reached ? "data" : "no data, no fault";
}

/// <summary>The registers of a VT-d unit, QEMU's or ours: the program that drives them is the same.</summary>
public abstract class VtdSide
{
    protected const int Gcmd = 0x18, Rtaddr = 0x20, Ccmd = 0x28, FaultStatus = 0x34, IoTlb = 0xf8, FaultRecord = 0x220;

    public abstract void Write(int offset, int bytes, ulong value);

    /// <summary>Translation on, with this root table address register.</summary>
    public void Start(ulong rootTableAddress)
    {
        Write(Rtaddr, 8, rootTableAddress);
        Write(Gcmd, 4, 0x4000_0000);
        Write(Gcmd, 4, 0x8000_0000);
    }

    /// <summary>Invalidates the context cache and the IOTLB globally.</summary>
    public virtual void Invalidate()
    {
        Write(Ccmd, 8, 1UL << 63 | 1UL << 61);
        Write(IoTlb, 8, 1UL << 63 | 1UL << 60);
    }

    protected static VtdOutcome Recorded(ulong low, ulong high) =>
        new(false, (uint)(high >> 32) & 0xFF, (high >> 62 & 1) != 0, low, (ushort)high);
}

/// <summary>Our unit.</summary>
/// <param name="unit">The unit.</param>
/// <param name="queue">A page for the invalidation queue; 0 in legacy mode.</param>
public sealed class OurVtd(VtdUnit unit, ulong queue) : VtdSide
{
    private ulong _tail;

    // The PASID cache, which QEMU does not have, can be invalidated through the queue only.
    public override void Invalidate()
    {
        base.Invalidate();
        if (queue == 0)
            return;
        unit.Memory.Write64(queue + _tail, 7 | (3 << 4)); // pasid_cache_invalidate_dsc, all domains
        if (_tail == 0)
        {
            unit.WriteRegister(0x90, 8, queue);
            unit.WriteRegister(Gcmd, 4, 0x8400_0000);
        }

        var descriptor = queue + _tail;
        _tail = (_tail + 16) % 4096;
        unit.WriteRegister(0x88, 8, _tail);
        unit.Memory.Write64(descriptor, 0); // it is done, and the page stays as QEMU's side has it
    }

    public override void Write(int offset, int bytes, ulong value) => unit.WriteRegister(offset, bytes, value);

    /// <summary>Translates one access; <paramref name="output"/> is where it goes.</summary>
    public VtdOutcome Access(ushort requesterId, ulong iova, bool write, out ulong output)
    {
        var done = unit.Translate(
            new DmaRequest(requesterId, DmaRequest.NoPasid, iova, write ? DmaAccess.Write : DmaAccess.Read), out var translation);
        output = translation.Output;
        if (done)
            return new VtdOutcome(true, 0);
        for (var i = 0; i < unit.Options.FaultRecords; i++)
        {
            var record = FaultRecord + (16 * i);
            var high = unit.ReadRegister(record + 8, 8);
            if (high >> 63 == 0)
                continue;
            var low = unit.ReadRegister(record, 8);
            unit.WriteRegister(record + 8, 8, 1UL << 63);
            return Recorded(low, high);
        }

        return new VtdOutcome(false, 0);
    }
}

/// <summary>QEMU's unit and its edu device.</summary>
public sealed class QemuVtd(JudgeMachine machine) : VtdSide
{
    private const ulong Registers = 0xfed9_0000;
    private uint _marker = 0x1000_0000;

    public override void Write(int offset, int bytes, ulong value) => machine.Qtest.Write(bytes, Registers + (ulong)offset, value);

    /// <summary>One DMA of 4 bytes. When it should reach <paramref name="output"/>, a number that is nowhere else shows whether it does.</summary>
    /// <param name="mailbox">An IOVA that is always mapped, and its physical address.</param>
    public VtdOutcome Access(EduDriver edu, ulong iova, bool write, bool reaches, ulong output, (ulong Iova, ulong Physical) mailbox)
    {
        var qtest = machine.Qtest;
        // A permission fault on a cached translation is not recorded by QEMU: every access is the first one.
        Invalidate();
        qtest.Write(4, Registers + FaultStatus, 1); // there is one record: a second fault before this overflowed it
        if (!reaches)
        {
            edu.Start(iova, write);
            edu.Wait();
            return TakeRecord(false);
        }

        var marker = ++_marker;
        qtest.Write(4, write ? mailbox.Physical : output, marker);
        qtest.Write(4, write ? output : mailbox.Physical, 0);
        edu.Start(write ? mailbox.Iova : iova, false);
        edu.Wait();
        edu.Start(write ? iova : mailbox.Iova, true);
        edu.Wait();
        var arrived = qtest.Read(4, write ? output : mailbox.Physical);
        qtest.Flush();
        return TakeRecord(qtest[arrived] == marker);
    }

    private VtdOutcome TakeRecord(bool reached)
    {
        var qtest = machine.Qtest;
        var low = qtest.Read(8, Registers + FaultRecord);
        var high = qtest.Read(8, Registers + FaultRecord + 8);
        qtest.Flush();
        var (lowValue, highValue) = (qtest[low], qtest[high]);
        if (highValue >> 63 == 0)
            return new VtdOutcome(reached, 0);
        qtest.Write(8, Registers + FaultRecord + 8, 1UL << 63);
        return Recorded(lowValue, highValue);
    }
}
