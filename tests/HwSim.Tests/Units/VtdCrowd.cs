using IommuFd.HwSim;
using IommuFd.HwSim.Units;

namespace HwSim.Tests.Units;

/// <summary>The tables of very many devices or PASIDs, with translation turned on.</summary>
internal static class VtdCrowd
{
    private const uint SetRootTable = 0x4000_0000, Translate = 0x8000_0000; // GCMD

    /// <summary>Legacy mode: each device has a domain and a table of its own, with one page of 1 GiB that leads to device number GiB.</summary>
    internal static void Devices(PhysicalMemory memory, VtdUnit unit, int devices, int apart)
    {
        var root = memory.Allocate();
        for (var i = 0; i < devices; i++)
        {
            var rid = (ulong)(i * apart);
            memory.Read64(root + ((rid >> 8) * 16), out var contexts);
            if (contexts == 0)
            {
                contexts = memory.Allocate() | 1;
                memory.Write64(root + ((rid >> 8) * 16), contexts);
            }

            var top = memory.Allocate();
            memory.Write64(top, (((ulong)i << 30) & 0x3FFF_FFFF_FFFF) | 3 | (1 << 7));
            memory.Write64((contexts & ~0xFFFUL) + ((rid & 0xff) * 16), top | 1);
            memory.Write64((contexts & ~0xFFFUL) + ((rid & 0xff) * 16) + 8, 1 | ((ulong)(i + 1) << 8));
        }

        Enable(unit, root);
    }

    /// <summary>Scalable mode: all 2^20 PASIDs of requester 0x18 share one second-stage table.</summary>
    internal static void Pasids(PhysicalMemory memory, VtdUnit unit, ulong table)
    {
        var root = memory.Allocate();
        var contexts = memory.Allocate();
        var directory = memory.Allocate(17);
        memory.Write64(root, contexts | 1);
        memory.Write64(contexts + (0x18 * 32), directory | 1 | 8 | (7 << 9));
        for (ulong i = 0; i < 1 << 14; i++)
        {
            var entries = memory.Allocate();
            memory.Write64(directory + (i * 8), entries | 1);
            for (ulong j = 0; j < 64; j++)
            {
                memory.Write64(entries + (j * 64), table | 1 | (2 << 2) | (2 << 6));
                memory.Write64(entries + (j * 64) + 8, 5);
            }
        }

        Enable(unit, root | (1 << 10));
    }

    private static void Enable(VtdUnit unit, ulong root)
    {
        unit.WriteRegister(VtdRegister.RTADDR, 8, root);
        unit.WriteRegister(VtdRegister.GCMD, 4, SetRootTable);
        unit.WriteRegister(VtdRegister.GCMD, 4, Translate);
    }
}
