using IommuFd.HwSim;
using IommuFd.HwSim.PageTables;
using IommuFd.HwSim.Units;

namespace HwSim.Tests.Units.Vtd;

/// <summary>A unit and the least that a driver does with it: tables written as bytes, commands through registers.</summary>
internal sealed class VtdMachine : IInterruptController, IDisposable
{
    public const ushort Sid = 0x18;
    public const ushort Domain = 5;

    public VtdMachine(VtdOptions? options = null)
    {
        Memory = new PhysicalMemory(new PhysicalMemoryOptions { ArenaSize = 64 << 20 });
        Unit = new VtdUnit(Memory, options) { Interrupts = this };
        Root = Memory.Allocate();
        ContextTable = Memory.Allocate();
        Table = new PageTable<VtdSecondStage>(Memory, VtdSecondStage.Geometry(48, 46));
    }

    public PhysicalMemory Memory { get; }

    public VtdUnit Unit { get; }

    public ulong Root { get; }

    public ulong ContextTable { get; }

    public PageTable<VtdSecondStage> Table { get; }

    public List<(ushort RequesterId, ulong Address, uint Data)> Messages { get; } = [];

    public void Message(ushort requesterId, ulong address, uint data) => Messages.Add((requesterId, address, data));

    public void Dispose()
    {
        Table.Dispose();
        Memory.Dispose();
    }

    public void SetContext(ulong low, ulong high, ushort sid = Sid)
    {
        Memory.Write64(ContextTable + ((ulong)(sid & 0xff) * 16), low);
        Memory.Write64(ContextTable + ((ulong)(sid & 0xff) * 16) + 8, high);
    }

    public void StartLegacy()
    {
        Memory.Write64(Root, ContextTable | 1);
        SetContext(Table.Root | 1, 2 | (Domain << 8));
        Start(Root);
    }

    public void Start(ulong rtaddr)
    {
        Unit.WriteRegister(VtdRegister.RTADDR, 8, rtaddr);
        Unit.WriteRegister(VtdRegister.GCMD, 4, 0x4000_0000);
        Unit.WriteRegister(VtdRegister.GCMD, 4, 0x8000_0000);
    }

    public bool Read(ulong iova, out DmaTranslation translation, ushort sid = Sid) =>
        Unit.Translate(new DmaRequest(sid, DmaRequest.NoPasid, iova, DmaAccess.Read), out translation);

    public bool Write(ulong iova, out DmaTranslation translation, ushort sid = Sid) =>
        Unit.Translate(new DmaRequest(sid, DmaRequest.NoPasid, iova, DmaAccess.Write), out translation);

    public void FlushIoTlb() => Unit.WriteRegister(VtdRegister.IOTLB, 8, (1UL << 63) | (1UL << 60));

    public void FlushContexts() => Unit.WriteRegister(VtdRegister.CCMD, 8, (1UL << 63) | (1UL << 61));

    public ulong Fault(int record = 0) => Unit.ReadRegister(VtdRegister.FRCD + (16 * record) + 8, 8);

    public ulong FaultAddress(int record = 0) => Unit.ReadRegister(VtdRegister.FRCD + (16 * record), 8);

    public void ClearFault(int record = 0) => Unit.WriteRegister(VtdRegister.FRCD + (16 * record) + 8, 8, 1UL << 63);
}
