using IommuFd.Native;
using IommuFd.Sysfs;

namespace VfioCli.Verbs;

/// <summary>Everything that <c>vfio show</c> says about a function, read once.</summary>
internal sealed record FunctionReport
{
    /// <summary>The function.</summary>
    public required PciFunction Function { get; init; }

    /// <summary>Its group.</summary>
    public IommuGroup? Group { get; init; }

    /// <summary>The IOMMU unit in front of it, by its name in <c>/sys/class/iommu</c>.</summary>
    public string? Iommu { get; init; }

    /// <summary>Its <c>driver_override</c>, or null.</summary>
    public string? Override { get; init; }

    /// <summary>The driver it had before it was given away, when that is remembered.</summary>
    public OriginalBinding? Original { get; init; }

    /// <summary>BARs and ROM.</summary>
    public IReadOnlyList<PciResource> Resources { get; init; } = [];

    /// <summary>The methods in the order in which the kernel tries them, or null.</summary>
    public string? ResetMethods { get; init; }

    /// <summary>Other functions behind the same bridge, which a bus reset also hits; empty when the kernel would not use one.</summary>
    public IReadOnlyList<PciAddress> AlsoReset { get; init; } = [];

    /// <summary><c>D0</c>, <c>D3hot</c>, <c>D3cold</c>.</summary>
    public string? PowerState { get; init; }

    /// <summary>How many VFs it can have.</summary>
    public int? TotalVfs { get; init; }

    /// <summary>How many it has.</summary>
    public int? Vfs { get; init; }

    /// <summary>The VFs' addresses.</summary>
    public IReadOnlyList<string> VfAddresses { get; init; } = [];

    /// <summary>For a VF, the function that it belongs to.</summary>
    public string? PhysicalFunction { get; init; }

    /// <summary>What the host loses with it.</summary>
    public IReadOnlyList<HostUse> Uses { get; init; } = [];

    /// <summary>Who has it open.</summary>
    public IReadOnlyList<DeviceHolder> Holders { get; init; } = [];

    /// <summary>Configuration space, when it can be read.</summary>
    public PciConfigSpace? Config { get; init; }

    /// <summary>Reads it all.</summary>
    public static FunctionReport Read(Session session, PciFunction function)
    {
        ISysfs sysfs = session.Sysfs;
        string path = function.Path;
        string? methods = sysfs.Attribute(path + "/reset_method");
        int? vfs = (int?)sysfs.Number(path + "/sriov_numvfs");
        return new FunctionReport
        {
            Function = function,
            Group = function.Group is { } id ? session.Bus.Group(id) : null,
            Iommu = sysfs.LinkName(path + "/iommu"),
            Override = DriverPlan.Now(sysfs, function.Address).Override,
            Original = session.Store.Recall(function.Address),
            Resources = PciResource.Read(sysfs, function.Address),
            ResetMethods = string.IsNullOrEmpty(methods) ? null : methods,
            AlsoReset = methods is not null && methods.Contains("bus", StringComparison.Ordinal) ? Siblings(session, function) : [],
            PowerState = sysfs.Attribute(path + "/power_state"),
            TotalVfs = (int?)sysfs.Number(path + "/sriov_totalvfs"),
            Vfs = vfs,
            VfAddresses = [.. Enumerable.Range(0, vfs ?? 0).Select(index => sysfs.LinkName($"{path}/virtfn{index}")).OfType<string>()],
            PhysicalFunction = sysfs.LinkName(path + "/physfn"),
            Uses = HostUse.Of(sysfs, function.Address),
            Holders = DeviceHolder.Of(sysfs, function.DeviceNode is { } node ? [node,
                .. function.Group is { } number ? [new IommuGroup { Id = number, Members = [] }.GroupNode] : Array.Empty<string>()] : [], out _),
            Config = PciConfigSpace.Read(sysfs, function.Address),
        };
    }

    private static PciAddress[] Siblings(Session session, PciFunction function)
    {
        _ = session.Bus.List(out PciFunction[] all);
        return [.. all.Select(static other => other.Address)
            .Where(other => other != function.Address && other.Domain == function.Address.Domain && other.Bus == function.Address.Bus)];
    }
}
