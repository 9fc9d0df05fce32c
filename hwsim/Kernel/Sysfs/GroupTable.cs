using System.Globalization;
using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// /sys/kernel/iommu_groups: which functions cannot be kept apart (pci_device_group of drivers/iommu/iommu.c), and the attributes of a group.
/// </summary>
internal sealed class GroupTable
{
    private readonly Lock _gate = new();
    private readonly FileTree _tree;
    private readonly DirectoryNode _root;
    private readonly Func<PciFunction, IommuDevice> _attach;
    private readonly DirectoryNode? _unit;
    private readonly SortedDictionary<int, (IommuGroup Group, DirectoryNode Directory)> _groups = [];
    private readonly Dictionary<int, string> _types = [];
    private readonly string _defaultType;
    private readonly List<PciFunction> _members = [];

    /// <summary>Groups of a machine.</summary>
    /// <param name="tree">Where they are shown.</param>
    /// <param name="attach">Makes the IOMMU core's view of a function.</param>
    /// <param name="unit">The unit's directory, which functions link to; null without an IOMMU.</param>
    /// <param name="defaultType">Type of the domain for the host's own DMA.</param>
    public GroupTable(FileTree tree, Func<PciFunction, IommuDevice> attach, DirectoryNode? unit, string defaultType)
    {
        _tree = tree;
        _root = tree.Directory("/sys/kernel/iommu_groups");
        _attach = attach;
        _unit = unit;
        _defaultType = defaultType;
    }

    /// <summary>A function appeared: it joins a group, or makes one.</summary>
    public void Add(PciFunction function)
    {
        lock (_gate)
        {
            Probe(function);
            _members.Add(function);
        }
    }

    /// <summary>A driver is about to get a function (dma_configure): one that was refused its IOMMU is tried again.</summary>
    public void Configure(PciFunction function)
    {
        lock (_gate)
        {
            if (function.Iommu.IsRefused && _members.Contains(function))
            {
                Probe(function);
            }
        }
    }

    /// <summary>A function is gone.</summary>
    public void Remove(PciFunction function)
    {
        lock (_gate)
        {
            _members.Remove(function);
            if (_unit is not null)
            {
                _tree.Remove(_tree.Directory(_unit.Path + "/devices"), function.Name);
            }

            Leave(function.Iommu, function.Directory!);
            function.Iommu.Ops?.ReleaseDevice(function.Iommu);
        }
    }

    /// <summary>Makes a group of its own for a device that has no IOMMU (VFIO's no-IOMMU and emulated groups).</summary>
    public IommuGroup AddAlone(IommuDevice device, DirectoryNode directory, string name)
    {
        lock (_gate)
        {
            IommuGroup group = Create(name);
            Join(device, directory, group);
            return group;
        }
    }

    /// <summary>Undoes <see cref="AddAlone"/>.</summary>
    public void RemoveAlone(IommuDevice device, DirectoryNode directory)
    {
        lock (_gate)
        {
            Leave(device, directory);
        }
    }

    private void Probe(PciFunction function)
    {
        function.Iommu = _attach(function);
        if (function.Iommu.Ops is not null)
        {
            Join(function.Iommu, function.Directory!, FindMates(function)?.Iommu.Group ?? Create(null));
            if (_unit is not null)
            {
                _tree.Link(function.Directory!, "iommu", _unit);
                _tree.Link(_tree.Directory(_unit.Path + "/devices"), function.Name, function.Directory!);
            }
        }
    }

    private IommuGroup Create(string? name)
    {
        int id = 0;
        while (_groups.ContainsKey(id))
        {
            id++;
        }

        var group = new IommuGroup(id) { Name = name };
        DirectoryNode at = _tree.Add(_root, id.ToString(CultureInfo.InvariantCulture));
        _tree.Add(at, "devices");
        _tree.Add(at, "reserved_regions", () => ReservedRegions(group));
        _types[id] = name is null ? _defaultType : "unknown";
        _tree.Add(at, "type", () => _types[id] + "\n", text => StoreType(group, text));
        if (name is not null)
        {
            _tree.Add(at, "name", () => name + "\n");
        }

        _groups[id] = (group, at);
        return group;
    }

    private void Join(IommuDevice device, DirectoryNode directory, IommuGroup group)
    {
        if (group.AddDevice(device) != 0)
        {
            return;
        }

        DirectoryNode at = _groups[group.Id].Directory;
        _tree.Link(directory, "iommu_group", at);
        _tree.Link(_tree.Directory(at.Path + "/devices"), device.Name, directory);
    }

    private void Leave(IommuDevice device, DirectoryNode directory)
    {
        if (device.Group is not { } group)
        {
            return;
        }

        DirectoryNode at = _groups[group.Id].Directory;
        _tree.Remove(_tree.Directory(at.Path + "/devices"), device.Name);
        _tree.Remove(directory, "iommu_group");
        group.RemoveDevice(device);
        if (group.Devices.Length == 0)
        {
            _tree.Remove(at);
            _groups.Remove(group.Id);
            _types.Remove(group.Id);
        }
    }

    // A member of the group that the function must join, or null: a conventional bus behind a bridge speaks with the bridge's id, a port without ACS
    // lets its devices reach each other, and so do the functions of a device without ACS.
    private PciFunction? FindMates(PciFunction function)
    {
        if (function.Bridge is { } bridge && !bridge.Topology.Acs)
        {
            return bridge;
        }

        return function.IsMultifunction && function.FindExtendedCapability(PciRegisters.PCI_EXT_CAP_ID_ACS) == 0
            ? _members.Find(other => other.Address.Segment == function.Address.Segment && other.Address.Bus == function.Address.Bus
                && other.Address.Device == function.Address.Device && other.IsMultifunction)
            : null;
    }

    private static string ReservedRegions(IommuGroup group)
    {
        var lines = new SortedSet<(ulong Start, string Line)>();
        foreach (IommuDevice device in group.Devices)
        {
            foreach (ReservedRegion region in device.ReservedRegions)
            {
                string type = region.Type switch
                {
                    ReservedRegionType.Direct => "direct",
                    ReservedRegionType.DirectRelaxable => "direct-relaxable",
                    ReservedRegionType.Reserved => "reserved",
                    _ => "msi",
                };
                lines.Add((region.Start,
                    string.Create(CultureInfo.InvariantCulture, $"0x{region.Start:x16} 0x{region.Start + region.Length - 1:x16} {type}\n")));
            }
        }

        return string.Concat(lines.Select(static l => l.Line));
    }

    private int StoreType(IommuGroup group, string text)
    {
        string wanted = text.TrimEnd('\n');
        if (wanted is not ("identity" or "DMA" or "DMA-FQ" or "auto") || group.DefaultDomain is null)
        {
            return -Errno.EINVAL;
        }

        if (group.IsDmaOwnerClaimed)
        {
            return -Errno.EPERM;
        }

        _types[group.Id] = wanted == "auto" ? _defaultType : wanted;
        return 0;
    }
}
