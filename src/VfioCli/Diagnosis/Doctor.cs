using System.Globalization;
using IommuFd.Native;
using IommuFd.Sysfs;
using VfioCli.CommandLine;

namespace VfioCli.Diagnosis;

/// <summary>
/// What a host needs for passthrough, checked in the order in which one thing depends on another; what depends on a failed check is skipped, with the
/// reason.
/// </summary>
/// <param name="session">The host.</param>
/// <param name="account">For whom.</param>
/// <param name="isCurrent">Whether that is the user of this process.</param>
/// <param name="devices">How many devices.</param>
/// <param name="memory">How many bytes are mapped for each address space.</param>
internal sealed class Doctor(Session session, Account account, bool isCurrent, int devices, ulong memory)
{
    private static readonly string[] s_containerSigns = ["/.dockerenv", "/run/.containerenv"];
    private readonly List<Check> _checks = [];
    private readonly ISysfs _sysfs = session.Sysfs;

    /// <summary>Runs all checks.</summary>
    public IReadOnlyList<Check> Run()
    {
        Kernel();
        if (Iommu())
        {
            Interrupts();
        }
        else
        {
            Skip("interrupt remapping", "there is no IOMMU");
        }

        NoIommu();
        bool vfio = Module("vfio", "VFIO core", "CONFIG_VFIO", "/dev/vfio");
        if (vfio)
        {
            _ = Driver();
            Cdev();
        }
        else
        {
            Skip("vfio-pci", "the VFIO core is missing");
            Skip("device nodes", "the VFIO core is missing");
        }

        if (Module("iommufd", "iommufd", "CONFIG_IOMMUFD", "/dev/iommu"))
        {
            Permission("/dev/iommu");
        }
        else
        {
            Skip("/dev/iommu for " + account.Name, "iommufd is missing");
        }

        _ = session.Bus.List(out PciFunction[] functions);
        foreach (PciFunction function in functions.Where(static function => function.DeviceNode is not null))
        {
            Permission(function.DeviceNode!);
        }

        Memlock();
        Container();
        Security();
        Journal();
        return _checks;
    }

    private void Add(string name, CheckResult result, string finding, string remedy = "", params string[] evidence) =>
        _checks.Add(new Check(name, result, finding, remedy, evidence));

    private void Skip(string name, string why) => Add(name, CheckResult.Skip, why);

    private void Kernel()
    {
        string release = _sysfs.Attribute("/proc/sys/kernel/osrelease") ?? "";
        string[] parts = release.Split('.', '-');
        if (parts.Length < 2 || !int.TryParse(parts[0], CultureInfo.InvariantCulture, out int major)
            || !int.TryParse(parts[1], CultureInfo.InvariantCulture, out int minor))
        {
            Skip("kernel", "the host does not say its release");
            return;
        }

        string evidence = "/proc/sys/kernel/osrelease=" + release;
        if ((major, minor) is var version && version.CompareTo((6, 2)) < 0)
        {
            Add("kernel", CheckResult.Fail, $"{release} has no iommufd",
                "Use Linux 6.6 or newer; before it only the legacy group interface works.", evidence);
        }
        else if (version.CompareTo((6, 6)) < 0)
        {
            Add("kernel", CheckResult.Warn, $"{release} has iommufd but no VFIO character devices", "Use Linux 6.6 or newer.", evidence);
        }
        else
        {
            Add("kernel", CheckResult.Pass, release);
        }
    }

    private bool Iommu()
    {
        if (!IommuAbsence.HasGroups(_sysfs))
        {
            _checks.Add(IommuAbsence.Explain(_sysfs));
            return false;
        }

        string[] units = _sysfs.Entries("/sys/class/iommu");
        Add("IOMMU", CheckResult.Pass,
            $"{_sysfs.Entries(PciBus.Groups).Length} groups behind {(units.Length == 0 ? "an unnamed unit" : string.Join(", ", units))}");
        return true;
    }

    private void Interrupts() => _checks.Add(InterruptRemapping.Check(_sysfs));

    private void NoIommu()
    {
        if (_sysfs.Attribute(BindRules.NoIommuParameter) == "Y")
        {
            Add("noiommu", CheckResult.Warn, "VFIO also takes devices without an IOMMU: they can overwrite all memory, and the kernel is tainted",
                $"`echo N > {BindRules.NoIommuParameter}` when it is not needed.", $"{BindRules.NoIommuParameter}=Y");
        }
    }

    private bool Module(string module, string name, string option, string node)
    {
        if (_sysfs.Exists(node) || _sysfs.Exists("/sys/module/" + module))
        {
            Add(name, CheckResult.Pass, _sysfs.Exists(node) ? $"{node} is there" : $"module {module} is loaded");
            return true;
        }

        KernelConfiguration? configuration = KernelConfiguration.Read(_sysfs);
        string value = configuration?[option[7..]] ?? "unknown";
        Add(
            name, CheckResult.Fail,
            value switch { "n" => $"the kernel was built without it ({option} is not set)", "y" => $"built in, but {node} is missing",
                _ => $"module {module} is not loaded" },
            value switch { "n" => $"Use a kernel with {option}.", "y" => "Is devtmpfs mounted on /dev? In a container, pass the node in.",
                _ => $"`modprobe {module}`; for every boot put the name into /etc/modules-load.d/vfio.conf." },
            $"{node}=absent", $"/sys/module/{module}=absent", $"{configuration?.Source ?? "kernel configuration"}: {option}={value}");
        return false;
    }

    private bool Driver()
    {
        if (_sysfs.Exists($"{PciBus.Drivers}/{DriverClaim.VfioPci}"))
        {
            Add("vfio-pci", CheckResult.Pass, "there");
            return true;
        }

        Add("vfio-pci", CheckResult.Fail, "not loaded", "`modprobe vfio-pci` (CONFIG_VFIO_PCI).", $"{PciBus.Drivers}/{DriverClaim.VfioPci}=absent");
        return false;
    }

    private void Cdev()
    {
        _ = session.Bus.List(out PciFunction[] functions);
        if (functions.FirstOrDefault(static function => function.VfioDevice is not null) is { } bound)
        {
            string path = $"{bound.Path}/vfio-dev/{bound.VfioDevice}/dev";
            Add("device nodes", bound.HasDeviceNode ? CheckResult.Pass : CheckResult.Fail,
                bound.HasDeviceNode ? bound.DeviceNode! : $"{bound.VfioDevice} has no character device: the kernel lacks CONFIG_VFIO_DEVICE_CDEV",
                bound.HasDeviceNode ? "" : "Use a kernel with CONFIG_VFIO_DEVICE_CDEV=y; until then the legacy group interface.",
                bound.HasDeviceNode ? [] : [$"{path}=absent"]);
            return;
        }

        switch (KernelConfiguration.Read(_sysfs))
        {
            case null:
                Skip("device nodes", "no function is on a VFIO driver, and the kernel's configuration cannot be read");
                break;
            case { } configuration when configuration["VFIO_DEVICE_CDEV"] == "y":
                Add("device nodes", CheckResult.Pass, "CONFIG_VFIO_DEVICE_CDEV=y");
                break;
            case { } configuration:
                Add("device nodes", CheckResult.Fail, "the kernel lacks CONFIG_VFIO_DEVICE_CDEV",
                    "Use a kernel that has it; until then the legacy group interface.",
                    $"{configuration.Source}: CONFIG_VFIO_DEVICE_CDEV={configuration["VFIO_DEVICE_CDEV"]}");
                break;
        }
    }

    private void Permission(string node)
    {
        string name = $"{node} for {account.Name}";
        if (_sysfs.Status(node, out PathStatus status) < 0)
        {
            Add(name, CheckResult.Fail, "missing", "Is devtmpfs mounted on /dev? In a container, pass the node in.", $"{node}=absent");
            return;
        }

        string owner = $"{Accounts.UserName(session.Host, status.UserId)}:{Accounts.GroupName(session.Host, status.GroupId)}",
            mode = Convert.ToString(status.Mode, 8).PadLeft(4, '0');
        string evidence = $"{node}: {owner} mode {mode}";
        if (!account.MayReadWrite(status))
        {
            string rule = node == "/dev/iommu"
                ? "KERNEL==\"iommu\", GROUP=\"vfio\", MODE=\"0660\""
                : "SUBSYSTEM==\"vfio-dev\", GROUP=\"vfio\", MODE=\"0660\"";
            Add(name, CheckResult.Fail, "its mode does not allow it",
                $"Put this into /etc/udev/rules.d/70-vfio.rules, and the user into group vfio: {rule}", evidence);
            return;
        }

        // The mode is not all: a device cgroup or a security module can still say no. Only opening tells, and only for ourselves.
        if (isCurrent && session.Host.Kind == HostKind.Kernel && node == "/dev/iommu")
        {
            int fd = session.Host.Kernel.Open(node, Libc.O_RDWR | Libc.O_CLOEXEC, 0);
            if (fd < 0)
            {
                Add(
                    name, CheckResult.Fail, $"its mode allows it, but opening it answers {Errno.Name(-fd)}",
                    fd == -Errno.EPERM
                        ? "A device cgroup says no: systemd DeviceAllow=/dev/iommu rw, docker --device /dev/iommu, Kubernetes a device plugin."
                        : "A security module says no (`dmesg`, `ausearch -m avc`), or the driver is gone.", evidence);
                return;
            }

            _ = session.Host.Kernel.Close(fd);
        }

        Add(name, CheckResult.Pass, $"{owner} mode {mode}");
    }

    private void Memlock()
    {
        if (session.Host.Kind == HostKind.Capture)
        {
            Skip("locked memory", "a capture holds no limits");
            return;
        }

        ulong need = checked(memory * (ulong)devices);
        string want = $"{NumberText.Size(memory)} for each of {devices} address space{(devices == 1 ? "" : "s")}";
        if (account.UserId == 0)
        {
            Add("locked memory", CheckResult.Pass, $"root has no limit ({want} wanted)");
            return;
        }

        if (!isCurrent)
        {
            Skip("locked memory", $"the limit of {account.Name} shows in a session of that user only: `sudo -u {account.Name} vfio doctor`");
            return;
        }

        if (session.Host.Kernel.GetResourceLimit(8, out ulong soft, out _) < 0) // RLIMIT_MEMLOCK
        {
            Skip("locked memory", "the limit cannot be read");
            return;
        }

        if (soft >= need)
        {
            Add("locked memory", CheckResult.Pass, $"{(soft == ulong.MaxValue ? "no limit" : NumberText.Size(soft))}, {want} wanted");
            return;
        }

        ulong kib = (need + 1023) / 1024;
        Add(
            "locked memory", CheckResult.Fail,
            $"{NumberText.Size(soft)}, but {want} wanted; iommufd counts all processes of the user together, the legacy interface each container",
            string.Create(CultureInfo.InvariantCulture,
                $"/etc/security/limits.d/vfio.conf: `{account.Name} - memlock {kib}`; systemd: LimitMEMLOCK={kib}K; now: prlimit --pid $$"
                    + $" --memlock={need}."), $"RLIMIT_MEMLOCK={soft}");
    }

    private void Container()
    {
        List<string> signs = [.. s_containerSigns.Where(_sysfs.Exists)];
        bool pod = (_sysfs.Attribute("/proc/1/cgroup") ?? "").Contains("kubepods", StringComparison.Ordinal);
        if (signs.Count > 0 || pod)
        {
            Add("container", CheckResult.Warn,
                "this is a container: it needs the nodes, the device cgroup's leave and CAP_IPC_LOCK or a memlock limit",
                "docker run --device /dev/iommu --device /dev/vfio --ulimit memlock=-1; binding of drivers belongs to the host.",
                [.. signs.Select(static sign => sign + "=present"), .. pod ? ["/proc/1/cgroup=kubepods"] : Array.Empty<string>()]);
        }
    }

    private void Security()
    {
        if (_sysfs.Attribute("/sys/fs/selinux/enforce") == "1")
        {
            Add("SELinux", CheckResult.Warn, "enforcing: a confined service needs a policy for vfio_device_t",
                "`ausearch -m avc -ts recent` shows refusals.", "/sys/fs/selinux/enforce=1");
        }

        string lockdown = _sysfs.Attribute("/sys/kernel/security/lockdown") ?? "";
        if (lockdown.Contains("[integrity]", StringComparison.Ordinal) || lockdown.Contains("[confidentiality]", StringComparison.Ordinal))
        {
            Add("lockdown", CheckResult.Pass, "on; VFIO works under it");
        }
    }

    private void Journal()
    {
        IReadOnlyList<OriginalBinding> unfinished = session.Store.Unfinished();
        if (unfinished.Count > 0)
        {
            Add("driver journal", CheckResult.Fail,
                $"a killed vfio command left {string.Join(", ", unfinished.Select(static before => before.Address))} half-way",
                "`vfio restore` as root.", DirectoryBindingStore.DefaultDirectory + "/transaction");
        }
        else if (session.Store.Remembered() is { Count: > 0 } remembered)
        {
            Add("driver journal", CheckResult.Pass,
                $"given away: {string.Join(", ", remembered.Select(static original => $"{original.Address} ({original.Driver ?? "no driver"})"))}");
        }
    }
}
