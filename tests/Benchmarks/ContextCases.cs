using IommuFd.HwSim;
using IommuFd.HwSim.PageTables;
using IommuFd.HwSim.Units;

namespace Benchmarks;

/// <summary>DMA after the context cache was invalidated, and of two devices that share a place in it: the entries are read and decoded again.</summary>
internal sealed unsafe class ContextCases
{
    private readonly PhysicalMemory _memory = new(new PhysicalMemoryOptions { AddressBits = 48 });
    private readonly VtdUnit _unit;
    private ulong _word;

    public ContextCases()
    {
        _unit = new VtdUnit(_memory, new VtdOptions { ScalableMode = false });
        var root = _memory.Allocate();
        var contexts = _memory.Allocate();
        var table = new PageTable<VtdSecondStage>(_memory, VtdSecondStage.Geometry(48, 48));
        if (table.Map(0, _memory.Allocate(), 4096, PageAttributes.Read | PageAttributes.Write | PageAttributes.User) != 0)
            throw new InvalidOperationException("the page was not mapped");
        foreach (var bus in new[] { 0, 0x10 })
            _memory.Write64(root + ((ulong)bus * 16), contexts | 1);
        _memory.Write64(contexts + (0x18 * 16), table.Root | 1);
        _memory.Write64(contexts + (0x18 * 16) + 8, 2 | (5 << 8));
        _unit.WriteRegister(VtdRegister.RTADDR, 8, root);
        _unit.WriteRegister(VtdRegister.GCMD, 4, 0x4000_0000);
        _unit.WriteRegister(VtdRegister.GCMD, 4, 0x8000_0000);
    }

    public void Miss()
    {
        // Everything, by register; then two requesters whose numbers differ in the bits that the cache does not index by.
        _unit.WriteRegister(VtdRegister.CCMD, 8, (1UL << 63) | (1UL << 61));
        fixed (ulong* word = &_word)
        {
            if (_unit.Write(0x0018, DmaRequest.NoPasid, 0, word, 8) != DmaStatus.Success || _unit.Write(0x1018, DmaRequest.NoPasid, 0, word, 8) != DmaStatus.Success)
                throw new InvalidOperationException("the DMA failed");
        }
    }
}
