using IommuFd.Native;
using IommuFd.Sysfs;
using VfioCli.Output;

namespace VfioCli.Diagnosis;

/// <summary>Why a function can or cannot be attached, check by check, and the one command that changes it.</summary>
internal sealed class Explanation
{
    private readonly Session _session;
    private readonly List<Check> _checks = [];

    private Explanation(Session session, PciFunction function)
    {
        _session = session;
        Function = function;
    }

    /// <summary>The function.</summary>
    public PciFunction Function { get; }

    /// <summary>Its group.</summary>
    public IommuGroup? Group { get; private set; }

    /// <summary>What was looked at, in the order in which one thing depends on another.</summary>
    public IReadOnlyList<Check> Checks => _checks;

    /// <summary>What the host loses with it.</summary>
    public IReadOnlyList<HostUse> Uses { get; private set; } = [];

    /// <summary>Whether it can be attached as things are.</summary>
    public bool CanAttach => _checks.All(static check => check.Result is not CheckResult.Fail);

    /// <summary>The one command that helps, or null: nothing needs doing, or no command helps.</summary>
    public string? Command { get; private set; }

    /// <summary>The verdict, as a sentence.</summary>
    public string Verdict { get; private set; } = "";

    /// <summary>Looks at a function.</summary>
    public static Explanation Of(Session session, PciFunction function)
    {
        Explanation explanation = new(session, function);
        explanation.Group = function.Group is { } id ? session.Bus.Group(id) : null;
        explanation.Uses = HostUse.Of(session.Sysfs, function.Address);
        bool possible = explanation.Kind() & explanation.Alive() & explanation.Iommu();
        if (possible)
        {
            if (function.Group is not null)
            {
                explanation._checks.Add(InterruptRemapping.Check(session.Sysfs));
            }

            explanation.Reserved();
            explanation.Driver();
            explanation.Members();
            explanation.Token();
            explanation.Node();
            explanation.Holders();
        }

        explanation.Conclude(possible);
        return explanation;
    }

    /// <summary>A member's verdict, in words.</summary>
    public static string VerdictOf(PciFunction member) => DriverClaim.Of(member) switch
    {
        DriverClaimKind.None => "fine: no driver, no claim on DMA",
        DriverClaimKind.Vfio => "fine: on a VFIO driver",
        DriverClaimKind.ManagedDma => $"fine: {member.Driver} does no DMA of its own",
        _ => $"blocks: {member.Driver} uses the host's DMA",
    };

    private bool Kind()
    {
        if (Function.IsBridge)
        {
            _checks.Add(new Check("kind", CheckResult.Fail, $"a {PciClass.Name(Function.Class)}, and VFIO takes no bridges",
                "Leave it where it is: bridges do not keep a group from user space.", $"{Function.Path}/class=0x{Function.Class:x6}"));
            return false;
        }

        _checks.Add(new Check("kind", CheckResult.Pass, $"an endpoint ({PciClass.Name(Function.Class)})"));
        return true;
    }

    private bool Alive()
    {
        string? power = _session.Sysfs.Attribute(Function.Path + "/power_state");
        if (PciConfigSpace.Read(_session.Sysfs, Function.Address) is { IsAllOnes: true })
        {
            _checks.Add(new Check(
                "alive", CheckResult.Fail, "its configuration space reads as all ones: it is off or lost",
                power == "D3cold" ? $"Wake it: `echo on > {Function.Path}/power/control`; if it stays so, only a reset of the host helps."
                    : "Only a reset of the host helps.",
                $"{Function.Path}/config=ff ff ff ff", $"{Function.Path}/power_state={power ?? "not said"}"));
            return false;
        }

        _checks.Add(power == "D3cold"
            ? new Check("alive", CheckResult.Warn, "it is in D3cold, and some devices do not wake up",
                $"Keep it awake: `echo 0 > {Function.Path}/d3cold_allowed`.", $"{Function.Path}/power_state=D3cold")
            : new Check("alive", CheckResult.Pass, power is null ? "it answers" : $"it answers, in {power}"));
        return true;
    }

    private bool Iommu()
    {
        if (Function.Group is not null)
        {
            string? unit = _session.Sysfs.LinkName(Function.Path + "/iommu");
            _checks.Add(new Check("IOMMU", CheckResult.Pass, $"group {Function.Group}{(unit is null ? "" : $", behind {unit}")}"));
            return true;
        }

        if (_session.Sysfs.Attribute(BindRules.NoIommuParameter) == "Y")
        {
            _checks.Add(new Check("IOMMU", CheckResult.Warn,
                "none, and VFIO is told to do without: the device can overwrite all memory of this machine, and the kernel is tainted",
                "Use it on machines that nobody misses.", $"{BindRules.NoIommuParameter}=Y"));
            return true;
        }

        Check why = IommuAbsence.SharedStream(_session.Host.Kernel, Function) ?? IommuAbsence.Explain(_session.Sysfs);
        _checks.Add(why with { Name = "IOMMU", Finding = $"no IOMMU stands in front of it: {why.Finding}",
            Evidence = [$"{Function.Path}/iommu_group=absent", .. why.Evidence] });
        return false;
    }

    private void Reserved()
    {
        foreach (ReservedRegion region in Group?.ReservedRegions ?? [])
        {
            if (region.Type == "direct")
            {
                _checks.Add(new Check(
                    "reserved regions", CheckResult.Fail,
                    $"the firmware insists on 0x{region.First:x}-0x{region.Last:x} being mapped one to one (RMRR), and the kernel then"
                        + " refuses user space",
                    "Look in the firmware for what uses it (legacy USB, IPMI, HP shared memory) and switch that off for this slot.",
                    $"{PciBus.Groups}/{Group!.Id}/reserved_regions=0x{region.First:x} 0x{region.Last:x} direct"));
                return;
            }
        }

        _checks.Add(new Check("reserved regions", CheckResult.Pass, "none that forbids user space"));
    }

    private void Driver()
    {
        if (DriverClaim.IsVfio(Function.Driver))
        {
            _checks.Add(new Check("driver", CheckResult.Pass, $"on {Function.Driver}"));
        }
        else if (!_session.Sysfs.Exists($"{PciBus.Drivers}/{DriverClaim.VfioPci}"))
        {
            _checks.Add(new Check("driver", CheckResult.Fail, $"driver {DriverClaim.VfioPci} is not there", "Load it: `modprobe vfio-pci`.",
                $"{PciBus.Drivers}/{DriverClaim.VfioPci}=absent"));
        }
        else if (Function.Driver is not null)
        {
            string path = $"{Function.Path}/driver={Function.Driver}";
            _checks.Add(new Check("driver", CheckResult.Fail, $"{Function.Driver} has it",
                $"`vfio bind {Function.Address}` gives it to vfio-pci.", path));
        }
        else
        {
            string? forced = DriverPlan.Now(_session.Sysfs, Function.Address).Override;
            _checks.Add(new Check(
                "driver", CheckResult.Warn,
                $"none{(forced is null ? "" : $", and driver_override keeps every driver but {forced} away")}; attach takes it for its own time", "",
                $"{Function.Path}/driver=absent"));
        }
    }

    private void Members()
    {
        if (Group is null)
        {
            return;
        }

        foreach (PciFunction member in Group.Members.Where(member => member.Address != Function.Address))
        {
            bool blocks = DriverClaim.Of(member) == DriverClaimKind.HostDma;
            _checks.Add(new Check(
                $"group member {member.Address}", blocks ? CheckResult.Fail : CheckResult.Pass, $"{PciClass.Name(member.Class)}, {VerdictOf(member)}",
                blocks ? $"`vfio bind --group {Function.Address}` takes it too." : "", $"{member.Path}/driver={member.Driver ?? "absent"}"));
        }

        foreach (string other in Group.OtherMembers)
        {
            _checks.Add(new Check($"group member {other}", CheckResult.Warn, "not a PCI function; its driver was not judged", "",
                $"{PciBus.Groups}/{Group.Id}/devices/{other}"));
        }
    }

    private void Node()
    {
        if (!DriverClaim.IsVfio(Function.Driver))
        {
            _checks.Add(new Check("node", CheckResult.Skip, "it appears with the VFIO driver"));
            return;
        }

        if (Function.VfioDevice is null)
        {
            _checks.Add(new Check("node", CheckResult.Fail, "the driver has no VFIO device for it",
                "The kernel is older than 6.1 or the driver failed half-way; `dmesg` tells.", $"{Function.Path}/vfio-dev=absent"));
        }
        else if (!Function.HasDeviceNode)
        {
            // The library takes the legacy group then, where there is one.
            bool legacy = Group is not null && _session.Sysfs.Exists(Group.GroupNode) && _session.Sysfs.Exists("/dev/vfio/vfio");
            _checks.Add(new Check(
                "node", legacy ? CheckResult.Warn : CheckResult.Fail,
                $"{Function.VfioDevice} has no character device: the kernel lacks CONFIG_VFIO_DEVICE_CDEV",
                $"Use a kernel that has it (6.6 or newer), or the legacy group {Group?.GroupNode ?? "/dev/vfio/N"}.",
                $"{Function.Path}/vfio-dev/{Function.VfioDevice}/dev=absent"));
        }
        else
        {
            bool there = _session.Sysfs.Exists(Function.DeviceNode!);
            _checks.Add(there
                ? new Check("node", CheckResult.Pass, Function.DeviceNode!)
                : new Check("node", CheckResult.Fail, $"{Function.DeviceNode} is missing though the kernel has the device",
                    "Start udev, or in a container pass the node in.", $"{Function.DeviceNode}=absent"));
        }

        _checks.Add(_session.Sysfs.Exists("/dev/iommu") || (!Function.HasDeviceNode && _session.Sysfs.Exists("/dev/vfio/vfio"))
            ? new Check("/dev/iommu", CheckResult.Pass,
                _session.Sysfs.Exists("/dev/iommu") ? "there" : "missing; the legacy container /dev/vfio/vfio stands in")
            : new Check("/dev/iommu", CheckResult.Fail, "missing", "`modprobe iommufd` (CONFIG_IOMMUFD).", "/dev/iommu=absent"));
    }

    // A VF of a PF that user space owns: the kernel wants proof that both owners know each other.
    private void Token()
    {
        if (_session.Sysfs.LinkName(Function.Path + "/physfn") is { } physical
            && DriverClaim.IsVfio(_session.Sysfs.LinkName($"{PciBus.Devices}/{physical}/driver")))
        {
            _checks.Add(new Check(
                "VF token", CheckResult.Warn,
                $"its physical function {physical} is in user hands, so binding needs the token that its owner has set, else it answers EACCES",
                "`vfio attach --token UUID`; character devices take tokens since Linux 6.17.", $"{Function.Path}/physfn -> {physical}"));
        }
    }

    private void Holders()
    {
        List<string> nodes = [];
        if (Function.DeviceNode is { } node)
        {
            nodes.Add(node);
        }

        if (Group is not null)
        {
            nodes.Add(Group.GroupNode);
            nodes.AddRange(Group.Members.Select(static member => member.DeviceNode).OfType<string>().Where(each => each != Function.DeviceNode));
        }

        IReadOnlyList<DeviceHolder> holders = DeviceHolder.Of(_session.Sysfs, nodes, out bool complete);
        foreach (DeviceHolder holder in holders)
        {
            string why = holder.Node == Function.DeviceNode ? "has it open"
                : holder.Node == Group?.GroupNode ? $"has the legacy group {holder.Node} open, which excludes the character devices"
                : $"has {holder.Node} of the same group open; the group can have one owner";
            _checks.Add(new Check("holders", CheckResult.Fail, $"{holder} {why}", "End that program.",
                $"/proc/{holder.ProcessId}/fd -> {holder.Node}"));
        }

        if (holders.Count == 0)
        {
            _checks.Add(complete
                ? new Check("holders", CheckResult.Pass, "nobody has it open")
                : new Check("holders", CheckResult.Skip, "only root can see who has it open"));
        }
    }

    private void Conclude(bool possible)
    {
        Check[] failed = [.. _checks.Where(static check => check.Result == CheckResult.Fail)];
        if (!possible)
        {
            Verdict = $"{Function.Address} cannot be attached: {failed[0].Finding}.";
            return;
        }

        if (failed.Length == 0)
        {
            Verdict = $"{Function.Address} can be attached.";
            Command = $"vfio attach {Function.Address}";
            return;
        }

        bool drivers = failed.All(static check => check.Name == "driver" || check.Name.StartsWith("group member", StringComparison.Ordinal))
            && !failed.Any(static check => check.Finding.EndsWith("not there", StringComparison.Ordinal));
        if (drivers)
        {
            bool others = failed.Any(static check => check.Name != "driver");
            bool vital = Uses.Any(static use => use.IsVital);
            Command = $"vfio bind {(others ? "--group " : "")}{(vital ? "--force " : "")}{Function.Address}";
            Verdict = $"{Function.Address} can be attached after `{Command}`{(vital ? ", but the host loses what is listed" : "")}.";
        }
        else
        {
            Check first = failed.First(static check => check.Name != "driver" && !check.Name.StartsWith("group member", StringComparison.Ordinal)
                || check.Finding.EndsWith("not there", StringComparison.Ordinal));
            Verdict = $"{Function.Address} cannot be attached as things are: {first.Finding}.";
            Command = first.Remedy.Contains('`', StringComparison.Ordinal) ? first.Remedy.Split('`')[1] : null;
        }
    }
}
