using IommuFd.HwSim.Units;

namespace IommuFd.HwSim.Kernel;

/// <summary>The machine's IOMMU with its driver, and which functions are behind it.</summary>
internal sealed partial class IommuUnits
{
    private readonly Topology _topology;
    private readonly IommuOps? _ops;
    private readonly IReadOnlyList<ReservedRegion> _regions = [];

    /// <summary>Makes the unit that a topology asks for and lets its driver bring it up.</summary>
    public IommuUnits(Topology topology, PhysicalMemory memory, FileTree tree, KernelLog log)
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
            "intel" => Intel(iommu, memory, log),
            "amd" => Amd(memory, log),
            "arm-smmuv3" => Smmu(memory, log),
            "riscv" => Riscv(iommu, memory, log),
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

    /// <summary>
    /// Puts a function behind the unit, and tells the IOMMU core. Once more for a function that was refused and that a driver is about to get.
    /// </summary>
    public IommuDevice Attach(PciFunction function)
    {
        // Behind a bridge to conventional PCI all requests carry the id of the bus.
        ushort requesterId = function.Bridge is { } bridge && bridge.Express != 0 && bridge.ExpressType == PciRegisters.PCI_EXP_TYPE_PCI_BRIDGE
            ? (ushort)(function.Address.Bus << 8)
            : function.Address.RequesterId;
        bool passes = Unit is null || function.Topology.BypassIommu;
        function.Hardware.RequesterId = requesterId;
        function.Hardware.Unit = passes ? Passing ?? new NoIommuUnit(Unit!.Memory) { Its = Unit.Its } : Unit;

        // A device that the driver refuses is behind the unit all the same: its DMA is translated as that of whoever has its id.
        bool refused = !passes
            && _ops!.ProbeDevice(Unit!, $"{function.Driver?.Name ?? "pci"} {function.Name}", [function.Address.RequesterId, requesterId]) < 0;
        bool bypasses = passes || refused;
        if (!bypasses && function.Hardware is IDeviceTlb tlb)
        {
            Unit!.ConnectDeviceTlb(requesterId, tlb);
        }

        IommuFeatures features = bypasses ? default : Enable(function);
        return new IommuDevice(function.Name, bypasses ? null : _ops, bypasses ? null : Unit)
        {
            IsRefused = refused,
            RequesterId = requesterId,
            ContextId = _topology.Dialect == "rfc" ? requesterId : function.Address.RequesterId,
            Segment = function.Address.Segment,
            IsVirtualFunction = function.IsVirtual,
            MaxPasids = features.MaxPasids,
            PasidExecute = features.MaxPasids != 0 && (function.Read(function.Pasid + PciRegisters.PCI_PASID_CAP, 2) & 2) != 0,
            PasidPrivileged = features.MaxPasids != 0 && (function.Read(function.Pasid + PciRegisters.PCI_PASID_CAP, 2) & 4) != 0,
            HasDeviceTlb = features.DeviceTlb,
            HasPageRequests = features.PageRequests,
            HasIsolatedMsi = _topology.Iommu?.InterruptRemapping ?? false,
            ReservedRegions = bypasses ? [] : Reserved(function),
        };
    }

    // intel_iommu_probe_finalize: PASID before ATS, as the PCI Express specification wants it, and page requests last; with all that the capabilities
    // offer.
    private IommuFeatures Enable(PciFunction function)
    {
        const ushort AtsEnable = 0x8000, PriEnable = 1, PriReset = 2;
        IommuFeatures offered = _ops!.Features(Unit!);
        int width = function.Pasid == 0 ? 0 : (int)(function.Read(function.Pasid + PciRegisters.PCI_PASID_CAP, 2) >> 8) & 0x1f;
        var features = new IommuFeatures(
            function.Pasid == 0 ? 0 : Math.Min(offered.MaxPasids, 1u << width),
            offered.DeviceTlb && function.Ats != 0,
            offered.PageRequests && function.Ats != 0 && function.Pri != 0);
        if (features.MaxPasids != 0)
        {
            function.Write(function.Pasid + PciRegisters.PCI_PASID_CTRL, 2, 1 | (function.Read(function.Pasid + PciRegisters.PCI_PASID_CAP, 2) & 6));
        }

        if (features.DeviceTlb)
        {
            function.Write(function.Ats + PciRegisters.PCI_ATS_CTRL, 2, AtsEnable);
        }

        if (features.PageRequests)
        {
            function.Write(function.Pri + PciRegisters.PCI_PRI_CTRL, 2, PriReset);
            function.Write(function.Pri + PciRegisters.PCI_PRI_ALLOC_REQ, 4, 32);
            function.Write(function.Pri + PciRegisters.PCI_PRI_CTRL, 2, PriEnable);
        }

        return features;
    }

    private ReservedRegion[] Reserved(PciFunction function) =>
    [
        .. function.Topology.Reserved.Select(region => new ReservedRegion(region.Start, region.End - region.Start + 1, region.Type switch
        {
            "direct" => ReservedRegionType.Direct,
            "direct-relaxable" => ReservedRegionType.DirectRelaxable,
            "reserved" => ReservedRegionType.Reserved,
            _ => throw new TopologyException($"function {function.Name}: '{region.Type}' is not a type of reserved range: direct,"
                + " direct-relaxable, reserved"),
        })),
        .. _regions,
    ];
}
