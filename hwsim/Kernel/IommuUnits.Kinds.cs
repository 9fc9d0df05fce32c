using IommuFd.HwSim.Units;

namespace IommuFd.HwSim.Kernel;

// One method per family: the silicon, its driver brought up, and what sysfs shows.
internal sealed partial class IommuUnits
{
    /// <summary>A unit with its driver.</summary>
    /// <param name="Unit">The silicon.</param>
    /// <param name="Ops">Its driver.</param>
    /// <param name="Regions">What every device behind it reports as reserved.</param>
    /// <param name="Name">Its name in /sys/class/iommu.</param>
    /// <param name="Attributes">The directory of its own attributes.</param>
    /// <param name="Files">Those attributes.</param>
    private sealed record Family(
        IommuUnit Unit, IommuOps Ops, IReadOnlyList<ReservedRegion> Regions, string Name, string Attributes,
        (string Name, Func<string> Read)[] Files);

    private static Family Intel(IommuTopology iommu, PhysicalMemory memory, KernelLog log)
    {
        // In legacy mode as QEMU's unit: no snoop control, no device TLBs. In scalable mode everything that the data book has and the topology
        // leaves.
        var unit = new VtdUnit(memory, new VtdOptions
        {
            AddressWidth = iommu.AddressBits,
            ScalableMode = iommu.Scalable,
            FirstStage = iommu.Has("first-stage"),
            Nesting = iommu.Has("nesting"),
            SecondStageDirty = iommu.Has("dirty-tracking"),
            DeviceTlb = iommu.Has("device-tlb"),
            SnoopControl = iommu.Has("snoop-control"),
            CachingMode = !iommu.Scalable,
        });
        var ops = new VtdOps { Print = log.Print };
        ops.Probe(unit);
        return new(unit, ops, [VtdOps.MsiRegion], "dmar0", "intel-iommu",
        [
            ("version", () => $"{unit.ReadRegister(VtdRegister.VER, 4) >> 4}:{unit.ReadRegister(VtdRegister.VER, 4) & 0xf}\n"),
            ("address", static () => "fed90000\n"),
            ("cap", () => $"{unit.ReadRegister(VtdRegister.CAP, 8):x}\n"),
            ("ecap", () => $"{unit.ReadRegister(VtdRegister.ECAP, 8):x}\n"),
            ("domains_supported", static () => "65536\n"),
            ("domains_used", static () => "1\n"),
        ]);
    }

    private static Family Amd(PhysicalMemory memory, KernelLog log)
    {
        var unit = new AmdViUnit(memory);
        var ops = new AmdOps { Print = log.Print };
        ops.Probe(unit);
        // The capability header of the IOMMU's PCI function: secure device, IOMMU block, IOTLB support left out.
        return new(unit, ops, AmdOps.Regions, "ivhd0", "amd-iommu",
        [
            ("cap", static () => "190b640f\n"),
            ("features", () => $"0:{unit.ReadRegister(AmdRegister.EXT_FEATURES, 8):x}\n"),
        ]);
    }

    private static Family Smmu(PhysicalMemory memory, KernelLog log)
    {
        var unit = new SmmuV3Unit(memory, new SmmuOptions { OutputBits = 48 }) { Its = new GicIts() };
        var ops = new SmmuOps { Print = log.Print };
        ops.Probe(unit);
        return new(unit, ops, [SmmuOps.MsiRegion], "smmu3.0x0000000009050000", "", []);
    }

    private static Family Riscv(IommuTopology iommu, PhysicalMemory memory, KernelLog log)
    {
        var unit = new RiscvIommuUnit(memory);
        var ops = new RiscvOps(iommu.CacheCoherent) { Print = log.Print };
        ops.Probe(unit);
        return new(unit, ops, [], "riscv-iommu@0000:00:01.0", "", []);
    }
}
