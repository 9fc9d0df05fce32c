using System.Globalization;
using IommuFd.Native;

namespace IommuFd.Sysfs;

/// <summary>Finds PCI functions and IOMMU groups through a host's sysfs. Nothing is cached: every call reads.</summary>
/// <param name="sysfs">The host's files.</param>
public sealed class PciBus(ISysfs sysfs)
{
    /// <summary>Where the functions are listed.</summary>
    public const string Devices = "/sys/bus/pci/devices";

    /// <summary>Where the drivers are listed.</summary>
    public const string Drivers = "/sys/bus/pci/drivers";

    /// <summary>Where the IOMMU groups are listed.</summary>
    public const string Groups = "/sys/kernel/iommu_groups";

    /// <summary>The function's directory in sysfs.</summary>
    public static string DevicePath(PciAddress address) => $"{Devices}/{address}";

    /// <summary>Every PCI function, in the order of their addresses.</summary>
    /// <param name="functions">The functions; empty on failure.</param>
    /// <returns>Their number, or -errno of listing <see cref="Devices"/>: -ENOENT on a machine without PCI.</returns>
    public int List(out PciFunction[] functions)
    {
        int result = sysfs.List(Devices, out string[] names);
        List<PciFunction> found = new(Math.Max(result, 0));
        foreach (string name in names)
        {
            // A function can vanish between the listing and the reading: it is then simply not there.
            if (PciAddress.TryParse(name, out PciAddress address) && Find(address) is { } function)
            {
                found.Add(function);
            }
        }

        found.Sort(static (left, right) => left.Address.CompareTo(right.Address));
        functions = [.. found];
        return result < 0 ? result : functions.Length;
    }

    /// <summary>One function, or null when there is none at <paramref name="address"/>.</summary>
    public PciFunction? Find(PciAddress address)
    {
        string path = DevicePath(address);

        // One read of uevent carries what five attributes would.
        ushort vendor = 0, device = 0;
        uint classCode = 0;
        string? alias = null;
        bool identified = false;
        if (sysfs.ReadText(path + "/uevent", out string uevent) >= 0)
        {
            foreach (ReadOnlySpan<char> line in uevent.AsSpan().EnumerateLines())
            {
                if (line.StartsWith("PCI_CLASS="))
                {
                    _ = uint.TryParse(line[10..], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out classCode);
                }
                else if (line.StartsWith("PCI_ID=") && line.Length == 16)
                {
                    identified = ushort.TryParse(line[7..11], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out vendor)
                        && ushort.TryParse(line[12..], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out device);
                }
                else if (line.StartsWith("MODALIAS="))
                {
                    alias = line[9..].ToString();
                }
            }
        }

        if (!identified)
        {
            if (sysfs.Number(path + "/vendor") is not { } vendorNumber)
            {
                return null;
            }

            vendor = (ushort)vendorNumber;
            device = (ushort)(sysfs.Number(path + "/device") ?? 0);
            classCode = (uint)(sysfs.Number(path + "/class") ?? 0);
            alias = sysfs.Attribute(path + "/modalias");
        }

        string? driver = sysfs.LinkName(path + "/driver");
        string? node = driver is null ? null : VfioDevice(address);
        return new PciFunction
        {
            Address = address,
            Vendor = vendor,
            Device = device,
            Class = classCode,
            ModuleAlias = alias,
            Driver = driver,
            Group = GroupOf(address),
            VfioDevice = node,
            HasDeviceNode = node is not null && sysfs.Exists($"{path}/vfio-dev/{node}/dev"),
            NumaNode = (int)(sysfs.Number(path + "/numa_node") ?? -1),
        };
    }

    /// <summary>One group with its members, or null when there is no group of that number.</summary>
    public IommuGroup? Group(int id)
    {
        string path = $"{Groups}/{id.ToString(CultureInfo.InvariantCulture)}";
        if (sysfs.List(path + "/devices", out string[] names) < 0)
        {
            return null;
        }

        List<PciFunction> members = [];
        List<string> others = [];
        foreach (string name in names)
        {
            if (PciAddress.TryParse(name, out PciAddress address) && Find(address) is { } function)
            {
                members.Add(function);
            }
            else
            {
                others.Add(name);
            }
        }

        return new IommuGroup
        {
            Id = id,
            Members = members,
            OtherMembers = others,
            DomainType = sysfs.Attribute(path + "/type"),
            ReservedRegions = ReservedRegion.Read(sysfs, path + "/reserved_regions"),
        };
    }

    /// <summary>Every group, by number.</summary>
    public IReadOnlyList<IommuGroup> AllGroups()
    {
        List<int> ids = [];
        foreach (string name in sysfs.Entries(Groups))
        {
            if (int.TryParse(name, CultureInfo.InvariantCulture, out int id))
            {
                ids.Add(id);
            }
        }

        ids.Sort();
        List<IommuGroup> groups = new(ids.Count);
        foreach (int id in ids)
        {
            if (Group(id) is { } group)
            {
                groups.Add(group);
            }
        }

        return groups;
    }

    /// <summary>The number of a function's IOMMU group, or null.</summary>
    internal int? GroupOf(PciAddress address) =>
        int.TryParse(sysfs.LinkName(DevicePath(address) + "/iommu_group"), CultureInfo.InvariantCulture, out int group) ? group : null;

    /// <summary>The name under <c>vfio-dev</c>, or null.</summary>
    internal string? VfioDevice(PciAddress address)
    {
        foreach (string name in sysfs.Entries(DevicePath(address) + "/vfio-dev"))
        {
            if (name.StartsWith("vfio", StringComparison.Ordinal) || name.StartsWith("noiommu-vfio", StringComparison.Ordinal))
            {
                return name;
            }
        }

        return null;
    }
}
