using System.Globalization;
using System.Text;
using IommuFd.Native;
using static IommuFd.HwSim.Kernel.PciRegisters;

namespace IommuFd.HwSim.Kernel;

/// <summary>The PCI part of sysfs: /sys/bus/pci and the functions' directories, with the effects of writing.</summary>
/// <remarks>Does not model: ACPI's firmware_node, MSI interrupt directories, port services, slots.</remarks>
internal sealed class PciSysfs
{
    private readonly FileTree _tree;
    private readonly PciBus _bus;
    private readonly PciTree _pci;
    private readonly DirectoryNode _devices;
    private readonly DirectoryNode _drivers;

    public PciSysfs(FileTree tree, PciBus bus, PciTree pci)
    {
        _tree = tree;
        _bus = bus;
        _pci = pci;
        DirectoryNode root = tree.Directory("/sys/bus/pci");
        _devices = tree.Add(root, "devices");
        _drivers = tree.Add(root, "drivers");
        tree.Add(root, "slots");
        tree.Add(root, "drivers_autoprobe", () => bus.AutoProbe ? "1\n" : "0\n", text =>
        {
            bus.AutoProbe = !text.StartsWith('0');
            return 0;
        });
        tree.Add(root, "drivers_probe", null, bus.StoreDriversProbe);
        tree.Add(root, "rescan", null, text => Number(text, out ulong value) ? value != 0 ? pci.Rescan() : 0 : -Errno.EINVAL);
        bus.BindingChanged += OnBindingChanged;
    }

    /// <summary>Shows a driver.</summary>
    public void Add(PciDriver driver)
    {
        DirectoryNode directory = _tree.Add(_drivers, driver.Name);
        _tree.Add(directory, "bind", null, text => _bus.StoreBind(driver, text));
        _tree.Add(directory, "unbind", null, text => _bus.StoreUnbind(driver, text));
        _tree.Add(directory, "new_id", null, text => _bus.StoreNewId(driver, text));
        _tree.Add(directory, "remove_id", null, text => _bus.StoreRemoveId(driver, text));
        _tree.Add(directory, "uevent", null, static _ => 0);
    }

    /// <summary>Shows a function.</summary>
    public void Add(PciFunction f)
    {
        DirectoryNode parent = f.Bridge?.Directory ?? _tree.Directory($"/sys/devices/pci{f.Address.Segment:x4}:00");
        DirectoryNode at = _tree.Add(parent, f.Name);
        f.Directory = at;
        _tree.Link(_devices, f.Name, at);
        _tree.Link(at, "subsystem", _tree.Directory("/sys/bus/pci"));

        Show(at, "vendor", () => $"0x{f.Vendor:x4}");
        Show(at, "device", () => $"0x{f.Device:x4}");
        Show(at, "subsystem_vendor", () => $"0x{f.SubsystemVendor:x4}");
        Show(at, "subsystem_device", () => $"0x{f.SubsystemDevice:x4}");
        Show(at, "class", () => $"0x{f.Class:x6}");
        Show(at, "revision", () => $"0x{f.Revision:x2}");
        Show(at, "irq", () => $"{f.Irq}");
        Show(at, "modalias", () => Modalias(f));
        Show(at, "resource", () => Resources(f));
        Show(at, "local_cpus", static () => "3");
        Show(at, "local_cpulist", static () => "0-1");
        Show(at, "ari_enabled", () => f.FindExtendedCapability(0xe) != 0 ? "1" : "0");
        Show(at, "dma_mask_bits", () => f.Driver is null || f.Driver.ManagesDma ? "32" : "64");
        Show(at, "consistent_dma_mask_bits", () => f.Driver is null || f.Driver.ManagesDma ? "32" : "64");
        Show(at, "power_state", static () => "D0");
        _tree.Add(at, "numa_node", () => f.Topology.NumaNode.ToString(CultureInfo.InvariantCulture) + "\n");
        _tree.Add(at, "broken_parity_status", static () => "0\n", static text => Number(text, out _) ? 0 : -Errno.EINVAL);
        _tree.Add(at, "msi_bus", static () => "1\n", static text => Number(text, out _) ? 0 : -Errno.EINVAL);
        _tree.Add(at, "d3cold_allowed", static () => "1\n", static text => Number(text, out _) ? 0 : -Errno.EINVAL);
        _tree.Add(at, "uevent", () => Uevent(f), static _ => 0);
        _tree.Add(at, "driver_override", () => (f.DriverOverride ?? "(null)") + "\n", text => PciBus.StoreDriverOverride(f, text));
        _tree.Add(at, "enable", () => $"{f.EnableCount}\n", text => StoreEnable(f, text));
        _tree.Add(at, "remove", null, text => Number(text, out ulong value) ? value != 0 ? _pci.Remove(f) : 0 : -Errno.EINVAL, 0x90);
        _tree.Add(at, "rescan", null, text => Number(text, out ulong value) ? value != 0 ? _pci.Rescan() : 0 : -Errno.EINVAL);
        _tree.Add(at, "config", new AttributeNode(0x1a4) { Show = () => ReadConfig(f) });
        for (int i = 0; i < PciResource.Rom; i++)
        {
            if (f.Resources[i].Length != 0)
            {
                _tree.Add(at, $"resource{i}", new AttributeNode(0x180));
            }
        }

        if (f.ResetMethods.Count > 0)
        {
            _tree.Add(at, "reset", null, text => !Number(text, out ulong value) || value != 1 ? -Errno.EINVAL : Locked(f, f.ResetFunction));
            _tree.Add(at, "reset_method", f.ShowResetMethods, text => Locked(f, () => f.StoreResetMethods(text)));
        }

        if (f.Express != 0)
        {
            Show(at, "current_link_speed", () => Speed(f.Read(f.Express + PCI_EXP_LNKSTA, 2) & 0xf));
            Show(at, "current_link_width", () => $"{(f.Read(f.Express + PCI_EXP_LNKSTA, 2) >> 4) & 0x3f}");
            Show(at, "max_link_speed", () => Speed(MaximumSpeed(f)));
            Show(at, "max_link_width", () => f.Read(f.Express + PCI_EXP_LNKCAP, 4) is uint value and not 0 ? $"{(value >> 4) & 0x3f}" : "255");
        }

        if (f.IsBridge)
        {
            Show(at, "secondary_bus_number", () => $"{f.Topology.SecondaryBus}");
            Show(at, "subordinate_bus_number", () => $"{f.Read(PCI_PRIMARY_BUS + 2, 1)}");
            _tree.Add(at, "reset_subordinate", null, text => !Number(text, out ulong value) || value != 1 ? -Errno.EINVAL : _pci.ResetSubordinate(f));
        }

        if (f.Sriov != 0)
        {
            AddSriov(f, at);
        }

        if (f.Physical is { } physical)
        {
            _tree.Link(at, "physfn", physical.Directory!);
            _tree.Link(physical.Directory!, $"virtfn{physical.VirtualFunctions.IndexOf(f)}", at);
            _tree.Add(at, "sriov_vf_msix_count", null, static _ => -Errno.EOPNOTSUPP);
        }
    }

    /// <summary>Takes a function out of sight.</summary>
    public void Remove(PciFunction f)
    {
        if (f.Physical is { } physical)
        {
            _tree.Remove(physical.Directory!, $"virtfn{physical.VirtualFunctions.IndexOf(f)}");
        }

        _tree.Remove(_devices, f.Name);
        _tree.Remove(f.Directory!);
    }

    private void AddSriov(PciFunction f, DirectoryNode at)
    {
        _tree.Add(at, "sriov_drivers_autoprobe", () => _pci.AutoProbeVirtual(f) ? "1\n" : "0\n", text =>
        {
            bool? value = text.TrimEnd('\n') switch { "1" or "y" or "Y" or "on" => true, "0" or "n" or "N" or "off" => false, _ => null };
            if (value is null)
            {
                return -Errno.EINVAL;
            }

            _pci.SetAutoProbeVirtual(f, value.Value);
            return 0;
        });
        _tree.Add(at, "sriov_numvfs", () => $"{f.VirtualFunctions.Count}\n", text => StoreNumVfs(f, text));
        Show(at, "sriov_totalvfs", () => $"{f.Read(f.Sriov + PCI_SRIOV_TOTAL_VF, 2)}");
        Show(at, "sriov_offset", () => $"{f.Read(f.Sriov + PCI_SRIOV_VF_OFFSET, 2)}");
        Show(at, "sriov_stride", () => $"{f.Read(f.Sriov + PCI_SRIOV_VF_STRIDE, 2)}");
        Show(at, "sriov_vf_device", () => $"{f.Read(f.Sriov + PCI_SRIOV_VF_DID, 2):x}");
        Show(at, "sriov_vf_total_msix", static () => "0");
    }

    private static int StoreNumVfs(PciFunction f, string text)
    {
        if (!Number(text, out ulong count) || count > ushort.MaxValue)
        {
            return -Errno.EINVAL;
        }

        if (count > f.Read(f.Sriov + PCI_SRIOV_TOTAL_VF, 2))
        {
            return -Errno.ERANGE;
        }

        lock (f.DeviceLock)
        {
            if ((int)count == f.VirtualFunctions.Count)
            {
                return 0;
            }

            if (f.Driver is not { HasSriovConfigure: true } driver)
            {
                return -Errno.ENOENT;
            }

            if (count != 0 && f.VirtualFunctions.Count != 0)
            {
                return -Errno.EBUSY;
            }

            return Math.Min(0, driver.SriovConfigure(f, (int)count));
        }
    }

    private static int StoreEnable(PciFunction f, string text)
    {
        if (!Number(text, out ulong value))
        {
            return -Errno.EINVAL;
        }

        lock (f.DeviceLock)
        {
            if (f.Driver is not null)
            {
                return -Errno.EBUSY;
            }

            if (value != 0)
            {
                f.Enable();
                return 0;
            }

            if (f.EnableCount == 0)
            {
                return -Errno.EIO;
            }

            f.Disable();
            return 0;
        }
    }

    private void OnBindingChanged(PciFunction f, PciDriver driver, bool bound)
    {
        DirectoryNode at = _tree.Get<DirectoryNode>($"/sys/bus/pci/drivers/{driver.Name}");
        if (bound)
        {
            _tree.Link(at, f.Name, f.Directory!);
            _tree.Link(f.Directory!, "driver", at);
        }
        else
        {
            _tree.Remove(at, f.Name);
            _tree.Remove(f.Directory!, "driver");
        }
    }

    private void Show(DirectoryNode at, string name, Func<string> show) => _tree.Add(at, name, () => show() + "\n");

    private static int Locked(PciFunction f, Func<int> action)
    {
        lock (f.DeviceLock)
        {
            return action();
        }
    }

    private static byte[] ReadConfig(PciFunction f)
    {
        byte[] bytes = new byte[f.ConfigSize];
        for (int i = 0; i < bytes.Length; i += 4)
        {
            BitConverter.TryWriteBytes(bytes.AsSpan(i), f.Read(i, 4));
        }

        return bytes;
    }

    private static string Resources(PciFunction f)
    {
        var text = new StringBuilder();
        for (int i = 0; i < (f.IsBridge ? PciResource.BridgeCount : PciResource.Count); i++)
        {
            PciResource r = f.Resources[i];
            text.Append(CultureInfo.InvariantCulture, $"0x{r.Start:x16} 0x{r.End:x16} 0x{r.Flags:x16}\n");
        }

        return text.ToString(0, text.Length - 1);
    }

    private static string Modalias(PciFunction f) => string.Create(
        CultureInfo.InvariantCulture,
        $"pci:v{f.Vendor:X8}d{f.Device:X8}sv{f.SubsystemVendor:X8}sd{f.SubsystemDevice:X8}"
            + $"bc{f.Class >> 16:X2}sc{(f.Class >> 8) & 0xff:X2}i{f.Class & 0xff:X2}");

    private static string Uevent(PciFunction f) => string.Create(
        CultureInfo.InvariantCulture,
        $"{(f.Driver is { } driver ? $"DRIVER={driver.Name}\n" : "")}PCI_CLASS={f.Class:X4}\nPCI_ID={f.Vendor:X4}:{f.Device:X4}\n"
            + $"PCI_SUBSYS_ID={f.SubsystemVendor:X4}:{f.SubsystemDevice:X4}\nPCI_SLOT_NAME={f.Name}\nMODALIAS={Modalias(f)}\n");

    private static uint MaximumSpeed(PciFunction f)
    {
        uint vector = (f.Read(f.Express + PCI_EXP_LNKCAP2, 4) >> 1) & 0x7f;
        return vector != 0 ? (uint)(32 - System.Numerics.BitOperations.LeadingZeroCount(vector)) : f.Read(f.Express + PCI_EXP_LNKCAP, 4) & 0xf;
    }

    private static string Speed(uint code) => code switch
    {
        1 => "2.5 GT/s PCIe", 2 => "5.0 GT/s PCIe", 3 => "8.0 GT/s PCIe", 4 => "16.0 GT/s PCIe", 5 => "32.0 GT/s PCIe",
        6 => "64.0 GT/s PCIe", _ => "Unknown",
    };

    /// <summary>kstrtoul with base 0: decimal, 0x hexadecimal or 0 octal, and one newline at the end.</summary>
    internal static bool Number(string text, out ulong value)
    {
        string digits = text.EndsWith('\n') ? text[..^1] : text;
        if (digits.StartsWith('+'))
        {
            digits = digits[1..];
        }

        if (digits.StartsWith("0x", StringComparison.OrdinalIgnoreCase))
        {
            return ulong.TryParse(digits.AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out value);
        }

        if (digits.Length > 1 && digits[0] == '0')
        {
            value = 0;
            foreach (char c in digits)
            {
                if (c is < '0' or > '7')
                {
                    return false;
                }

                value = (value << 3) | (uint)(c - '0');
            }

            return true;
        }

        return ulong.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out value);
    }
}
