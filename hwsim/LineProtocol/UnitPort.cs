using IommuFd.HwSim.Units;

namespace IommuFd.HwSim.LineProtocol;

/// <summary>A unit and its registers, whichever it is.</summary>
internal sealed class UnitPort
{
    private UnitPort(IommuUnit unit, Func<int, int, ulong> read, Action<int, int, ulong> write)
    {
        Unit = unit;
        Read = read;
        Write = write;
    }

    internal IommuUnit Unit { get; }

    /// <summary>Reads a register: offset, bytes.</summary>
    internal Func<int, int, ulong> Read { get; }

    /// <summary>Writes a register: offset, bytes, value.</summary>
    internal Action<int, int, ulong> Write { get; }

    internal static UnitPort? Make(string kind, PhysicalMemory memory)
    {
        switch (kind)
        {
            case "vtd":
                var vtd = new VtdUnit(memory);
                return new UnitPort(vtd, vtd.ReadRegister, vtd.WriteRegister);
            case "smmuv3":
                var smmu = new SmmuV3Unit(memory);
                return new UnitPort(smmu, smmu.ReadRegister, smmu.WriteRegister);
            case "riscv":
                var riscv = new RiscvIommuUnit(memory);
                return new UnitPort(riscv, riscv.ReadRegister, riscv.WriteRegister);
            case "amd-vi":
                var amd = new AmdViUnit(memory);
                return new UnitPort(amd, amd.ReadRegister, amd.WriteRegister);
            default:
                return null;
        }
    }
}
