using HwSim.Tests.Judges.Qemu;
using IommuFd.HwSim;
using IommuFd.HwSim.Units;

namespace HwSim.Tests.Judges.RiscV;

/// <summary>What a translation came to: a fault cause, or the page.</summary>
/// <param name="Cause">Cause of the fault; 0 for a translation.</param>
/// <param name="Page">Physical address of the page, in units of 4 MiB: finer bits do not come through QEMU's debug register.</param>
public readonly record struct RiscVAnswer(uint Cause, ulong Page)
{
    public override string ToString() => Cause != 0 ? $"cause {Cause}" : $"page 0x{Page << 22:x}";
}

/// <summary>QEMU's RISC-V IOMMU without its IOTLB, asked through the debug translation registers; its memory follows our arena.</summary>
public sealed class RiscVBench : IDisposable
{
    private const ulong Registers = 0x301_0000, Ram = 0x8000_0000;
    private const uint DeviceId = 0x18;
    private readonly JudgeMachine _machine = JudgeMachine.RiscV(0, ioTlb: false);
    private readonly GuestMirror _mirror;
    private readonly ulong _ddt, _commands;
    private readonly RiscvIommuUnit _unit;
    private ulong _tail;

    public RiscVBench()
    {
        Memory = GuestMirror.NewMemory(Ram, 56);
        _mirror = new GuestMirror(Qtest, Memory);
        _ddt = Memory.Allocate();
        _commands = Memory.Allocate();
        // The options are what QEMU's capabilities register says.
        _unit = new RiscvIommuUnit(
            Memory, new RiscvOptions { HardwareAccessedDirty = false, Napot = false, T2Gpa = false, ProcessDirectories = 1, IoTlbLg2 = -1 });
        Register(0x18, 8, (_commands >> 12 << 10) | 7);
        Register(0x48, 4, 1);
        Register(0x10, 8, (_ddt >> 12 << 10) | 2);
        Qtest.Flush();
    }

    public PhysicalMemory Memory { get; }

    public QtestClient Qtest => _machine.Qtest;

    /// <summary>
    /// True for addresses where QEMU has something that is not in our arena: RAM that we do not mirror, or devices (the PCI window ends at 32 GiB).
    /// </summary>
    public bool IsOutsideMirror(ulong address) =>
        address < 0x8_0000_0000 && (address < Memory.Options.ArenaBase || address >= Memory.Options.ArenaBase + Memory.HighWaterBytes);

    /// <summary>Sets the device context (extended format) and makes the unit read it.</summary>
    public void SetDevice(ulong tc, ulong iohgatp, ulong ta, ulong fsc)
    {
        var context = _ddt + (DeviceId * 64);
        Memory.Write64(context, tc | 1);
        Memory.Write64(context + 8, iohgatp);
        Memory.Write64(context + 16, ta);
        Memory.Write64(context + 24, fsc);
        Memory.Write64(_commands + (_tail * 16), 3); // IODIR.INVAL_DDT, all devices
        _tail = (_tail + 1) % 256;
        _mirror.Export();
        Register(0x24, 4, _tail);
        Qtest.Flush();
    }

    /// <summary>Our unit's answer.</summary>
    public RiscVAnswer Ours(ulong iova, bool write)
    {
        var request = new DmaRequest((ushort)DeviceId, DmaRequest.NoPasid, iova, DmaAccess.Read | (write ? DmaAccess.Write : 0));
        if (!_unit.Translate(request, out var translation))
            return new RiscVAnswer(translation.Reason, 0);
        return new RiscVAnswer(0, (translation.Output & ~((1UL << translation.SizeLg2) - 1)) >> 22);
    }

    /// <summary>Changes a word on both sides.</summary>
    public void Change(ulong address, ulong value)
    {
        Memory.Write64(address, value);
        Qtest.Write(8, address, value);
    }

    /// <summary>Queues a translation; the result is the index of its answer.</summary>
    /// <param name="iova">Address.</param>
    /// <param name="write">Asks for read and write instead of read only.</param>
    /// <param name="processId">Process.</param>
    public int Ask(ulong iova, bool write, uint processId = 0)
    {
        Qtest.Write(8, Registers + 0x258, iova);
        Qtest.Write(8, Registers + 0x260,
            1 | (write ? 0 : 8UL) | ((ulong)processId << 12) | (processId != 0 ? 1UL << 32 : 0) | ((ulong)DeviceId << 40));
        return Qtest.Read(8, Registers + 0x268);
    }

    /// <summary>The answer, after a flush.</summary>
    public RiscVAnswer Answer(int index)
    {
        var response = Qtest[index];
        // QEMU leaves the page number where it is (the specification has it at bit 10), so its low bits are covered by the flags.
        return (response & 1) != 0 ? new RiscVAnswer((uint)(response >> 10) & 0xFFF, 0) : new RiscVAnswer(0, response >> 10);
    }

    private void Register(int offset, int bytes, ulong value)
    {
        _unit.WriteRegister(offset, bytes, value);
        Qtest.Write(bytes, Registers + (ulong)offset, value);
    }

    public void Dispose()
    {
        Memory.Dispose();
        _machine.Dispose();
    }
}
