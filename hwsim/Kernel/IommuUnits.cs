using IommuFd.HwSim.Units;

namespace IommuFd.HwSim.Kernel;

/// <summary>The machine's IOMMU with its driver, and which functions are behind it.</summary>
internal sealed partial class IommuUnits
{
    private readonly Topology _topology;
    private readonly IommuOps? _ops;
    private readonly IReadOnlyList<ReservedRegion> _regions = [];

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

        Family family = iommu.Kind switch
        {
            "intel" => Intel(iommu, memory),
            "amd" => Amd(memory),
            "arm-smmuv3" => Smmu(memory),
            "riscv" => Riscv(iommu, memory),
            _ => throw new TopologyException($"there is no IOMMU of kind '{iommu.Kind}'; known are: intel, amd, arm-smmuv3, riscv"),
        };
        Unit = family.Unit;
        _ops = family.Ops;
        _regions = family.Regions;
        Directory = tree.Directory("/sys/devices/virtual/iommu/" + family.Name);
        tree.Directory(Directory.Path + "/devices");
        if (family.Files.Length != 0)
        {
            DirectoryNode directory = tree.Directory($"{Directory.Path}/{family.Attributes}");
            foreach ((string file, Func<string> read) in family.Files)
            {
                tree.Add(directory, file, read);
            }
        }

        tree.Link(Directory, "subsystem", tree.Directory("/sys/class/iommu"));
        tree.Link(tree.Directory("/sys/class/iommu"), family.Name, Directory);
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

    private ReservedRegion[] Reserved(PciFunction function) =>
    [
        .. function.Topology.Reserved.Select(region => new ReservedRegion(region.Start, region.End - region.Start + 1, region.Type switch
        {
            "direct" => ReservedRegionType.Direct,
            "direct-relaxable" => ReservedRegionType.DirectRelaxable,
            "reserved" => ReservedRegionType.Reserved,
            _ => throw new TopologyException($"function {function.Name}: '{region.Type}' is not a type of reserved range: direct, direct-relaxable, reserved"),
        })),
        .. _regions,
    ];
}
