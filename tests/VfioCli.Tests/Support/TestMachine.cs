using System.Globalization;
using IommuFd.Native;
using IommuFd.Sysfs;
using Moq;

namespace VfioCli.Tests.Support;

/// <summary>
/// A machine whose sysfs is made by a test, broken as the test needs it, and on which writes to <c>driver_override</c>, <c>bind</c>, <c>unbind</c>
/// and <c>drivers_probe</c> do what the kernel's driver core does.
/// </summary>
internal sealed class TestMachine : IHost
{
    private readonly Dictionary<string, List<string>> _ids = new(StringComparer.Ordinal);
    private int _nextVfio;

    public TestMachine()
    {
        Tree.Directory("/sys/bus/pci/devices");
        Tree.Directory("/sys/kernel/iommu_groups");
        Tree.File("/sys/bus/pci/drivers_probe", "");
        Tree.Effects["/sys/bus/pci/drivers_probe"] = text => Probe(text.Trim());
        Driver(DriverClaim.VfioPci);
        Driver("pcieport");
    }

    public FileTree Tree { get; } = new();

    public HostKind Kind { get; init; } = HostKind.Simulator;

    public string Description { get; init; } = "test machine";

    public IKernel Kernel { get; init; } = Mock.Of<IKernel>();

    /// <summary>Set to put something between the command and the tree.</summary>
    public ISysfs? Front { get; set; }

    public ISysfs Sysfs => Front ?? Tree;

    /// <summary>Answers of a driver's probe, by driver and address: 0 or -errno.</summary>
    public Func<string, string, int> OnProbe { get; set; } = static (_, _) => 0;

    /// <summary>Called when a driver must let go.</summary>
    public Action<string, string> OnRemove { get; set; } = static (_, _) => { };

    /// <summary>The machine of the README: edu, nvme, root port with igb, bridge with two edus in one group.</summary>
    public static TestMachine Standard()
    {
        TestMachine machine = new();
        machine.Driver("nvme", "144d:a808");
        machine.Driver("igb", "8086:10c9");
        machine.Function("0000:00:00.0", "8086:29c0", "060000", group: 0);
        machine.Function("0000:00:04.0", "1234:11e8", "00ff00", group: 1);
        machine.Function("0000:00:05.0", "144d:a808", "010802", group: 2, driver: "nvme");
        machine.Function("0000:00:06.0", "1b36:000c", "060400", group: 3, driver: "pcieport");
        machine.Function("0000:01:00.0", "8086:10c9", "020000", group: 4, driver: "igb");
        machine.Function("0000:00:07.0", "1b36:000e", "060400", group: 5);
        machine.Function("0000:02:01.0", "1234:11e8", "00ff00", group: 5);
        machine.Function("0000:02:02.0", "1234:11e8", "00ff00", group: 5);
        return machine;
    }

    public void Driver(string name, params string[] ids)
    {
        string path = "/sys/bus/pci/drivers/" + name;
        _ids[name] = [.. ids];
        Tree.File(path + "/bind", "");
        Tree.File(path + "/unbind", "");
        Tree.Effects[path + "/bind"] = text => Bind(name, text.Trim());
        Tree.Effects[path + "/unbind"] = text => Unbind(text.Trim());
    }

    public void Function(string address, string id, string classCode, int? group = null, string? driver = null)
    {
        string device = "/sys/devices/pci0000:00/" + address;
        Tree.Link("/sys/bus/pci/devices/" + address, "../../../devices/pci0000:00/" + address);
        string[] ids = id.Split(':');
        Tree.File(device + "/vendor", $"0x{ids[0]}\n");
        Tree.File(device + "/device", $"0x{ids[1]}\n");
        Tree.File(device + "/class", $"0x{classCode}\n");
        Tree.File(device + "/numa_node", "0\n");
        Tree.File(device + "/power_state", "D0\n");
        Tree.File(device + "/driver_override", "(null)\n");
        Tree.Effects[device + "/driver_override"] = text =>
        {
            Tree.File(device + "/driver_override", text == "\n" ? "(null)\n" : text.TrimEnd('\n') + "\n");
            return 0;
        };
        Tree.File(device + "/uevent",
            $"PCI_CLASS={classCode.TrimStart('0').ToUpperInvariant()}\nPCI_ID={id.ToUpperInvariant()}\nPCI_SLOT_NAME={address}\n"
                + $"MODALIAS=pci:v0000{ids[0]}d0000{ids[1]}\n");
        if (group is { } number)
        {
            string directory = "/sys/kernel/iommu_groups/" + number.ToString(CultureInfo.InvariantCulture);
            Tree.Link(device + "/iommu_group", "../../.." + directory[4..]);
            Tree.Link($"{directory}/devices/{address}", "../../../../devices/pci0000:00/" + address);
            Tree.File(directory + "/type", "DMA\n");
            Tree.File(directory + "/reserved_regions", "0x00000000fee00000 0x00000000feefffff msi\n");
        }

        if (driver is not null)
        {
            Attach(driver, address);
        }
    }

    public string? DriverOf(string address) => DriverPlan.Now(Tree, PciAddress.Parse(address)).Driver;

    public string? OverrideOf(string address) => DriverPlan.Now(Tree, PciAddress.Parse(address)).Override;

    public void Dispose()
    {
    }

    private static string Device(string address) => "/sys/devices/pci0000:00/" + address;

    private int Bind(string driver, string address)
    {
        if (!Tree.Exists(Device(address)) || DriverOf(address) is not null || !Matches(driver, address))
        {
            return -Errno.ENODEV;
        }

        int result = OnProbe(driver, address);
        if (result >= 0)
        {
            Attach(driver, address);
        }

        return Math.Min(result, 0);
    }

    private int Probe(string address)
    {
        if (!Tree.Exists(Device(address)))
        {
            return -Errno.ENODEV;
        }

        foreach (string driver in _ids.Keys)
        {
            if (DriverOf(address) is null && Matches(driver, address) && OnProbe(driver, address) >= 0)
            {
                Attach(driver, address);
            }
        }

        return 0;
    }

    private int Unbind(string address)
    {
        if (DriverOf(address) is not { } driver)
        {
            return -Errno.ENODEV;
        }

        OnRemove(driver, address);
        Tree.Remove(Device(address) + "/driver");
        Tree.Remove($"/sys/bus/pci/drivers/{driver}/{address}");
        Tree.Remove(Device(address) + "/vfio-dev");
        return 0;
    }

    private bool Matches(string driver, string address)
    {
        string id = Tree.Text(Device(address) + "/vendor").Trim()[2..] + ":" + Tree.Text(Device(address) + "/device").Trim()[2..];
        return OverrideOf(address) is { } forced ? forced == driver : _ids[driver].Contains(id);
    }

    private void Attach(string driver, string address)
    {
        Tree.Link(Device(address) + "/driver", "../../../bus/pci/drivers/" + driver);
        Tree.Link($"/sys/bus/pci/drivers/{driver}/{address}", "../../../../devices/pci0000:00/" + address);
        if (DriverClaim.IsVfio(driver))
        {
            string node = "vfio" + _nextVfio++.ToString(CultureInfo.InvariantCulture);
            Tree.File($"{Device(address)}/vfio-dev/{node}/dev", "511:0\n");
            Tree.File("/dev/vfio/devices/" + node, "");
        }
    }
}
