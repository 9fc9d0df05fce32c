using System.Formats.Tar;
using IommuFd.Native;
using IommuFd.Sysfs;

namespace VfioCli.Capturing;

/// <summary>
/// Takes the files that this command reads into a tar. Attributes are taken by name: reading others can hang (vpd), has effects (rom, resourceN) or
/// says nothing.
/// </summary>
internal sealed class Capture
{
    private static readonly string[] s_attributes =
    [
        "ari_enabled", "boot_vga", "class", "config", "current_link_speed", "current_link_width", "d3cold_allowed", "device", "dma_mask_bits",
        "driver_override", "enable",
        "irq", "local_cpulist", "max_link_speed", "max_link_width", "modalias", "msi_bus", "numa_node", "power_state",
        "reset_method", "resource", "revision",
        "sriov_drivers_autoprobe", "sriov_numvfs", "sriov_offset", "sriov_stride", "sriov_totalvfs", "sriov_vf_device", "subsystem_device",
        "subsystem_vendor", "uevent", "vendor",
    ];

    private static readonly string[] s_below =
    [
        "address", "available_instances", "cap", "dev", "device_api", "ecap", "enabled", "features", "flags", "name", "operstate", "partition",
        "size", "state", "status", "transport", "type", "version", "description",
    ];

    private static readonly string[] s_single =
    [
        "/proc/cmdline", "/proc/config.gz", "/proc/cpuinfo", "/proc/interrupts", "/proc/iomem", "/proc/meminfo", "/proc/modules", "/proc/net/route",
        "/proc/self/mountinfo", "/proc/swaps",
        "/proc/sys/kernel/osrelease", "/proc/version", "/proc/1/cgroup", "/etc/os-release", "/etc/passwd", "/etc/group", "/sys/fs/selinux/enforce",
        "/sys/kernel/security/lockdown", "/sys/kernel/security/lsm",
    ];

    private readonly IHost _host;
    private readonly TarWriter _tar;
    private readonly bool _mask;
    private readonly HashSet<string> _taken = new(StringComparer.Ordinal);

    private Capture(IHost host, TarWriter tar, bool mask)
    {
        _host = host;
        _tar = tar;
        _mask = mask;
    }

    private ISysfs Sysfs => _host.Sysfs;

    /// <summary>Writes a capture and returns the number of its entries.</summary>
    public static int Write(IHost host, Stream output, bool mask)
    {
        using TarWriter tar = new(output, TarEntryFormat.Pax, leaveOpen: true);
        Capture capture = new(host, tar, mask);
        capture.All();
        return capture._taken.Count;
    }

    private void All()
    {
        foreach (string path in s_single)
        {
            File(path);
        }

        foreach (string name in Sysfs.Entries(PciBus.Devices))
        {
            string path = $"{PciBus.Devices}/{name}";
            Link(path);
            if (Sysfs.ReadLink(path, out string target) >= 0)
            {
                Function(Absolute(PciBus.Devices, target));
            }
        }

        foreach (string driver in Sysfs.Entries(PciBus.Drivers))
        {
            string path = $"{PciBus.Drivers}/{driver}";
            Directory(path);
            foreach (string entry in Sysfs.Entries(path).Where(static entry => PciAddress.TryParse(entry, out _)))
            {
                Link($"{path}/{entry}");
            }
        }

        foreach (string group in Sysfs.Entries(PciBus.Groups))
        {
            string path = $"{PciBus.Groups}/{group}";
            Directory(path);
            File(path + "/type");
            File(path + "/reserved_regions");
            foreach (string member in Sysfs.Entries(path + "/devices"))
            {
                Link($"{path}/devices/{member}");
            }
        }

        foreach (string unit in Sysfs.Entries("/sys/class/iommu"))
        {
            Directory("/sys/class/iommu/" + unit);
            Below("/sys/class/iommu/" + unit, 2);
        }

        foreach (string disk in Sysfs.Entries("/sys/class/block"))
        {
            Directory("/sys/class/block/" + disk);
            File($"/sys/class/block/{disk}/dev");
            File($"/sys/class/block/{disk}/dm/name");
            foreach (string entry in Sysfs.Entries("/sys/class/block/" + disk).Where(entry => entry.StartsWith(disk, StringComparison.Ordinal)))
            {
                Directory($"/sys/class/block/{disk}/{entry}");
            }

            foreach (string holder in Sysfs.Entries($"/sys/class/block/{disk}/holders"))
            {
                Directory($"/sys/class/block/{disk}/holders/{holder}");
            }
        }

        foreach (string module in new[] { "vfio", "vfio_pci", "vfio_pci_core", "vfio_iommu_type1", "iommufd", "kvm" })
        {
            if (Sysfs.Exists("/sys/module/" + module))
            {
                Directory("/sys/module/" + module);
                foreach (string parameter in Sysfs.Entries($"/sys/module/{module}/parameters"))
                {
                    File($"/sys/module/{module}/parameters/{parameter}");
                }
            }
        }

        foreach (string table in Sysfs.Entries("/sys/firmware/acpi/tables")
            .Where(static table => table is "DMAR" or "IVRS" or "IORT" or "VIOT" or "RIMT"))
        {
            File("/sys/firmware/acpi/tables/" + table, emptyIfUnreadable: true);
        }

        if (Sysfs.Exists("/sys/firmware/acpi"))
        {
            Directory("/sys/firmware/acpi/tables");
        }

        Nodes();
    }

    private void Nodes()
    {
        foreach (string node in (IEnumerable<string>)["/dev/iommu", .. Sysfs.Entries("/dev/vfio").Select(static name => "/dev/vfio/" + name),
            .. Sysfs.Entries("/dev/vfio/devices").Select(static name => "/dev/vfio/devices/" + name)])
        {
            if (Sysfs.Status(node, out PathStatus status) < 0 || status.Kind == PathKind.Directory || !_taken.Add(node))
            {
                continue;
            }

            _tar.WriteEntry(new PaxTarEntry(TarEntryType.CharacterDevice, node[1..])
            {
                Mode = (UnixFileMode)status.Mode,
                Uid = (int)status.UserId,
                Gid = (int)status.GroupId,
                DeviceMajor = (int)(status.Device >> 8),
                DeviceMinor = (int)(status.Device & 255),
            });
        }
    }

    private void Function(string path)
    {
        Directory(path);
        foreach (string attribute in s_attributes)
        {
            File($"{path}/{attribute}");
        }

        foreach (string link in new[] { "driver", "iommu_group", "iommu", "physfn", "subsystem" })
        {
            Link($"{path}/{link}");
        }

        foreach (string entry in Sysfs.Entries(path))
        {
            if (entry.StartsWith("virtfn", StringComparison.Ordinal))
            {
                Link($"{path}/{entry}");
            }
            else if (entry is "vfio-dev" or "net" or "block" or "drm" or "nvme" or "mdev_supported_types"
                || entry.StartsWith("ata", StringComparison.Ordinal)
                || entry.StartsWith("host", StringComparison.Ordinal) || entry.StartsWith("usb", StringComparison.Ordinal)
                || entry.StartsWith("virtio", StringComparison.Ordinal))
            {
                Directory($"{path}/{entry}");
                Below($"{path}/{entry}", 8);
            }
        }
    }

    // Directories below a function, with the few attributes that are read there; links stay links.
    private void Below(string path, int depth)
    {
        foreach (string entry in Sysfs.Entries(path))
        {
            string child = $"{path}/{entry}";
            if (Sysfs.ReadLink(child, out _) >= 0)
            {
                if (entry is "master" or "driver" || PciAddress.TryParse(entry, out _))
                {
                    Link(child);
                }
            }
            else if (Sysfs.Status(child, out PathStatus status) >= 0 && status.Kind == PathKind.Directory)
            {
                if (depth > 0 && entry is not ("power" or "queues" or "statistics" or "mq" or "queue" or "trace"))
                {
                    Directory(child);
                    Below(child, depth - 1);
                }
            }
            else if (s_below.Contains(entry))
            {
                File(child);
            }
        }
    }

    private void Directory(string path)
    {
        if (_taken.Add(path))
        {
            _tar.WriteEntry(new PaxTarEntry(TarEntryType.Directory, path[1..] + "/") { Mode = (UnixFileMode)0x1ed });
        }
    }

    private void Link(string path)
    {
        if (Sysfs.ReadLink(path, out string target) >= 0 && _taken.Add(path))
        {
            _tar.WriteEntry(new PaxTarEntry(TarEntryType.SymbolicLink, path[1..]) { LinkName = target });
        }
    }

    private void File(string path, bool emptyIfUnreadable = false)
    {
        if (_taken.Contains(path))
        {
            return;
        }

        int result = Sysfs.ReadBytes(path, out byte[] bytes);
        if ((result < 0 && !emptyIfUnreadable) || !_taken.Add(path))
        {
            return;
        }

        _tar.WriteEntry(new PaxTarEntry(TarEntryType.RegularFile, path[1..]) { Mode = (UnixFileMode)0x1a4,
            DataStream = new MemoryStream(_mask ? Masking.Apply(path, bytes) : bytes) });
    }

    private static string Absolute(string directory, string target)
    {
        if (target.StartsWith('/'))
        {
            return target;
        }

        List<string> parts = [.. directory.Split('/', StringSplitOptions.RemoveEmptyEntries)];
        foreach (string part in target.Split('/'))
        {
            if (part == "..")
            {
                parts.RemoveAt(parts.Count - 1);
            }
            else if (part.Length > 0 && part != ".")
            {
                parts.Add(part);
            }
        }

        return "/" + string.Join('/', parts);
    }
}
