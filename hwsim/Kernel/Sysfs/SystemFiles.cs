using System.Globalization;
using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>What a machine shows besides its devices: module parameters, and the files of /proc that tools read.</summary>
internal sealed class SystemFiles(FileTree tree, Topology topology)
{
    /// <summary>/proc.</summary>
    public void AddProc()
    {
        DirectoryNode proc = tree.Directory("/proc");
        tree.Add(proc, "cmdline", () => topology.CommandLine + "\n");
        tree.Add(proc, "version", () => $"Linux version {topology.KernelRelease} (simulated)\n");
        tree.Add(proc, "iomem", () => string.Concat(topology.Iomem.Select(static line => line + "\n")));
        tree.Add(proc, "mounts", static () => "sysfs /sys sysfs rw 0 0\nproc /proc proc rw 0 0\ndevtmpfs /dev devtmpfs rw 0 0\n");
        tree.Add(proc, "swaps", static () => "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n");
        tree.Add(proc, "meminfo",
            static () =>
                "MemTotal:        8388608 kB\nMemFree:         6291456 kB\nMemAvailable:    6291456 kB\n"
                    + "HugePages_Total:       0\nHugePages_Free:        0\nHugepagesize:       2048 kB\n");
        tree.Add(proc, "devices", static () => "Character devices:\n  1 mem\n 10 misc\n251 vfio-dev\n252 vfio\n\nBlock devices:\n259 blkext\n");
        tree.Add(tree.Directory("/proc/sys/kernel"), "osrelease", () => topology.KernelRelease + "\n");
        tree.Add(proc, "interrupts", () => Interrupts());
        DirectoryNode self = tree.Directory("/proc/self");
        tree.Add(self, "limits", () => Limits());
        tree.Directory("/etc");
        tree.Directory("/sys/class/net");
        tree.Directory("/sys/class/block");
        tree.Directory("/sys/class/drm");
        AddProcessors();
        foreach ((string path, string text) in topology.Files)
        {
            int slash = path.LastIndexOf('/');
            tree.Add(tree.Directory(path[..slash]), path[(slash + 1)..], () => text);
        }

        foreach ((string path, string target) in topology.Links)
        {
            int slash = path.LastIndexOf('/');
            tree.Add(tree.Directory(path[..slash]), path[(slash + 1)..], new LinkNode(target));
        }
    }

    // Two processors of one socket on one node.
    private void AddProcessors()
    {
        DirectoryNode node = tree.Directory("/sys/devices/system/node/node0"), processors = tree.Directory("/sys/devices/system/cpu");
        foreach (string name in (string[])["online", "possible", "present"])
        {
            tree.Add(processors, name, static () => "0-1\n");
        }

        for (int i = 0; i < 2; i++)
        {
            int number = i;
            DirectoryNode processor = tree.Directory($"{processors.Path}/cpu{number}"), place = tree.Directory(processor.Path + "/topology");
            tree.Add(place, "core_id", () => $"{number}\n");
            tree.Add(place, "physical_package_id", static () => "0\n");
            tree.Link(node, $"cpu{number}", processor);
        }
    }

    /// <summary>Shows a boolean parameter: Y or N. A topology may start it off differently.</summary>
    public void AddFlag(string module, string name, Func<bool> get, Action<bool> set, bool isWritable = true)
    {
        if (topology.Parameters.TryGetValue($"{module}.{name}", out string? text) && Flag(text) is bool start)
        {
            set(start);
        }

        int Store(string written)
        {
            if (Flag(written.TrimEnd('\n')) is not bool value)
            {
                return -Errno.EINVAL;
            }

            set(value);
            return 0;
        }

        tree.Add(tree.Directory($"/sys/module/{module}/parameters"), name, () => get() ? "Y\n" : "N\n", isWritable ? Store : null);
    }

    /// <summary>Shows a number.</summary>
    public void AddNumber(string module, string name, Func<uint> get, Action<uint> set)
    {
        if (topology.Parameters.TryGetValue($"{module}.{name}", out string? text) && PciSysfs.Number(text, out ulong start))
        {
            set((uint)start);
        }

        tree.Add(tree.Directory($"/sys/module/{module}/parameters"), name, () => get().ToString(CultureInfo.InvariantCulture) + "\n", written =>
        {
            if (!PciSysfs.Number(written, out ulong value) || value > uint.MaxValue)
            {
                return -Errno.EINVAL;
            }

            set((uint)value);
            return 0;
        });
    }

    // kstrtobool.
    private static bool? Flag(string text) => text switch
    {
        "" => null,
        _ when text[0] is 'y' or 'Y' or 't' or 'T' or '1' => true,
        _ when text[0] is 'n' or 'N' or 'f' or 'F' or '0' => false,
        _ when text.StartsWith("on", StringComparison.OrdinalIgnoreCase) => true,
        _ when text.StartsWith("of", StringComparison.OrdinalIgnoreCase) => false,
        _ => null,
    };

    // The chips' names tell whether interrupts are remapped.
    private string Interrupts()
    {
        string remapped = topology.Iommu?.InterruptRemapping == true ? "IR-" : "";
        (string wired, string message) = topology.Iommu?.Kind switch
        {
            "arm-smmuv3" => ("GICv3", remapped.Length == 0 ? "GICv2m-PCI-MSI" : "ITS-PCI-MSI"),
            "riscv" => ("APLIC-MSI", remapped.Length == 0 ? "PLIC" : "IMSIC-PCI-MSI"),
            _ => (remapped + "IO-APIC", remapped + "PCI-MSI"),
        };
        return "           CPU0       CPU1       \n"
            + $"  9:          0          0   {wired}    9-fasteoi   acpi\n"
            + $" 24:         12          0   {message}-0000:00:02.0    0-edge      virtio0-config\n";
    }

    private string Limits()
    {
        string memory = topology.Process.MemoryLock == ulong.MaxValue
            ? "unlimited"
            : topology.Process.MemoryLock.ToString(CultureInfo.InvariantCulture);
        return "Limit                     Soft Limit           Hard Limit           Units     \n"
            + "Max open files            1024                 524288               files     \n"
            + $"Max locked memory         {memory,-20} {memory,-20} bytes     \n";
    }
}
