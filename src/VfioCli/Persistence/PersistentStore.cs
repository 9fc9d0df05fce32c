using System.Globalization;
using System.Text;
using VfioCli.Verbs;

namespace VfioCli.Persistence;

/// <summary>
/// What is written under /etc so that a binding outlives a reboot: a definition for each function, one udev rule that sets driver_override before a
/// module can take the function, and one unit that binds what a built-in or initramfs driver took first.
/// </summary>
/// <param name="root">The directory that stands for /.</param>
internal sealed class PersistentStore(string root)
{
    /// <summary>Definitions.</summary>
    public string Definitions { get; } = Path.Combine(root, "etc/vfio/devices.d");

    /// <summary>The udev rule.</summary>
    public string Rules { get; } = Path.Combine(root, "etc/udev/rules.d/10-vfio.rules");

    /// <summary>The systemd unit.</summary>
    public string Unit { get; } = Path.Combine(root, "etc/systemd/system/vfio.service");

    /// <summary>The unit's link that starts it at every boot.</summary>
    public string Wanted { get; } = Path.Combine(root, "etc/systemd/system/sysinit.target.wants/vfio.service");

    /// <summary>Every definition, by address.</summary>
    public IReadOnlyList<PersistentDevice> Read() => !Directory.Exists(Definitions) ? []
        : [.. Directory.GetFiles(Definitions).Select(static file => PersistentDevice.Parse(Path.GetFileName(file), File.ReadAllText(file)))
            .OfType<PersistentDevice>().OrderBy(static device => device.Address)];

    /// <summary>Adds or replaces definitions.</summary>
    public void Add(IEnumerable<PersistentDevice> devices)
    {
        foreach (PersistentDevice device in devices)
        {
            EtcFile.Write(Path.Combine(Definitions, device.Address.ToString()), device.ToText());
        }

        WriteSystem();
    }

    /// <summary>Removes a definition.</summary>
    public void Remove(PersistentDevice device)
    {
        EtcFile.Delete(Path.Combine(Definitions, device.Address.ToString()));
        WriteSystem();
    }

    /// <summary>The udev rule for what is defined.</summary>
    public string RulesText()
    {
        StringBuilder text = new("# Written by `vfio persist`; `vfio forget` takes lines away.\n");
        foreach (PersistentDevice device in Read())
        {
            _ = text.Append(CultureInfo.InvariantCulture,
                $"ACTION==\"add\", SUBSYSTEM==\"pci\", KERNEL==\"{device.Address}\", ATTR{{vendor}}==\"0x{device.Vendor:x4}\","
                    + $" ATTR{{device}}==\"0x{device.Device:x4}\", ATTR{{driver_override}}=\"{device.Driver}\"\n");
        }

        return text.ToString();
    }

    /// <summary>What an initial RAM disk needs when it loads the host's driver before udev of the root file system runs.</summary>
    public static string InitramfsHint =>
        "If the initramfs already loads the host's driver: dracut: add_drivers+=\" vfio-pci \" and install_items+=\""
            + " /etc/udev/rules.d/10-vfio.rules \"; "
        + "initramfs-tools: vfio-pci in /etc/initramfs-tools/modules, then update-initramfs -u; mkinitcpio: MODULES=(vfio_pci vfio"
        + " vfio_iommu_type1), then mkinitcpio -P.";

    // systemd looks for a bare name in /usr/local/bin and /usr/bin; a command that lies elsewhere is named in full, unless the files are for another
    // root.
    private string UnitText() =>
        $"""
        # Written by `vfio persist`.
        [Unit]
        Description=Give PCI functions to VFIO
        DefaultDependencies=no
        After=systemd-udevd.service systemd-modules-load.service
        Before=sysinit.target

        [Service]
        Type=oneshot
        RemainAfterExit=yes
        ExecStartPre=-modprobe vfio-pci
        ExecStart={(root == "/" && Environment.ProcessPath is { } path && Path.GetFileName(path) == "vfio" ? path : "vfio")} persist --apply

        [Install]
        WantedBy=sysinit.target

        """;

    private void WriteSystem()
    {
        if (Read().Count == 0)
        {
            EtcFile.Delete(Rules);
            EtcFile.Delete(Wanted);
            EtcFile.Delete(Unit);
            return;
        }

        EtcFile.Write(Rules, RulesText());
        EtcFile.Write(Unit, UnitText());
        if (!File.Exists(Wanted))
        {
            _ = Directory.CreateDirectory(Path.GetDirectoryName(Wanted)!);
            _ = File.CreateSymbolicLink(Wanted, "../vfio.service");
        }
    }
}
