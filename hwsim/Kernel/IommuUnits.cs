using IommuFd.HwSim.Units;

namespace IommuFd.HwSim.Kernel;

/// <summary>The machine's IOMMU with its driver, and which functions are behind it.</summary>
internal sealed class IommuUnits
{
    private readonly Topology _topology;
    private readonly IommuOps? _ops;

    /// <summary>Makes the unit that a topology asks for and lets its driver bring it up.</summary>
    public IommuUnits(Topology topology, PhysicalMemory memory, FileTree tree)
    {
        _topology = topology;
        tree.Directory("/sys/class/iommu");
        if (topology.Iommu is not { } iommu)
        {
            Passing = new NoIommuUnit(memory);
            return;
        }

        if (iommu.Kind != "intel")
        {
            throw new TopologyException($"there is no IOMMU of kind '{iommu.Kind}'; known are: intel");
        }

        // As QEMU's unit in legacy mode offers it: no snoop control, no device TLBs.
        var unit = new VtdUnit(memory, new VtdOptions
        {
            AddressWidth = iommu.AddressBits,
            ScalableMode = iommu.Scalable,
            FirstStage = false,
            Nesting = false,
            SecondStageDirty = false,
            DeviceTlb = false,
            SnoopControl = false,
            CachingMode = true,
        });
        var ops = new VtdOps();
        ops.Probe(unit);
        Unit = unit;
        _ops = ops;
        Directory = tree.Directory("/sys/devices/virtual/iommu/dmar0");
        tree.Directory(Directory.Path + "/devices");
        DirectoryNode attributes = tree.Directory(Directory.Path + "/intel-iommu");
        tree.Add(attributes, "version", () => $"{unit.ReadRegister(VtdRegister.VER, 4) >> 4}:{unit.ReadRegister(VtdRegister.VER, 4) & 0xf}\n");
        tree.Add(attributes, "address", static () => "fed90000\n");
        tree.Add(attributes, "cap", () => $"{unit.ReadRegister(VtdRegister.CAP, 8):x}\n");
        tree.Add(attributes, "ecap", () => $"{unit.ReadRegister(VtdRegister.ECAP, 8):x}\n");
        tree.Add(attributes, "domains_supported", static () => "65536\n");
        tree.Add(attributes, "domains_used", static () => "1\n");
        tree.Link(Directory, "subsystem", tree.Directory("/sys/class/iommu"));
        tree.Link(tree.Directory("/sys/class/iommu"), "dmar0", Directory);
    }

    /// <summary>The unit; null without one.</summary>
    public IommuUnit? Unit { get; }

    /// <summary>Where the unit is shown; null without one.</summary>
    public DirectoryNode? Directory { get; }

    private NoIommuUnit? Passing { get; }

    /// <summary>Puts a function behind the unit, and tells the IOMMU core.</summary>
    public IommuDevice Attach(PciFunction function)
    {
        // Behind a bridge to conventional PCI all requests carry the id of the bus.
        ushort requesterId = function.Bridge is { } bridge && bridge.Express != 0 && bridge.ExpressType == PciRegisters.PCI_EXP_TYPE_PCI_BRIDGE
            ? (ushort)(function.Address.Bus << 8)
            : function.Address.RequesterId;
        bool bypasses = Unit is null || function.Topology.BypassIommu;
        function.Hardware.RequesterId = requesterId;
        function.Hardware.Unit = bypasses ? Passing ?? new NoIommuUnit(Unit!.Memory) : Unit;
        return new IommuDevice(function.Name, bypasses ? null : _ops, bypasses ? null : Unit)
        {
            RequesterId = requesterId,
            Segment = function.Address.Segment,
            IsVirtualFunction = function.IsVirtual,
            HasIsolatedMsi = _topology.Iommu?.InterruptRemapping ?? false,
            ReservedRegions = bypasses ? [] : Reserved(function),
        };
    }

    private static ReservedRegion[] Reserved(PciFunction function) =>
    [
        .. function.Topology.Reserved.Select(region => new ReservedRegion(region.Start, region.End - region.Start + 1, region.Type switch
        {
            "direct" => ReservedRegionType.Direct,
            "direct-relaxable" => ReservedRegionType.DirectRelaxable,
            "reserved" => ReservedRegionType.Reserved,
            _ => throw new TopologyException($"function {function.Name}: '{region.Type}' is not a type of reserved range: direct, direct-relaxable, reserved"),
        })),
        VtdOps.MsiRegion,
    ];
}
