using IommuFd.Native;
using IommuFd.Sysfs;

namespace VfioCli.Verbs;

/// <summary>One function in the tree of buses, with what its port does for isolation.</summary>
/// <param name="Function">The function.</param>
/// <param name="Acs">For a bridge, its verdict on isolation; else null.</param>
internal sealed record TopologyNode(PciFunction Function, string? Acs)
{
    /// <summary>Functions behind it.</summary>
    public List<TopologyNode> Children { get; } = [];
}

/// <summary>The tree of PCI buses, read from the links of sysfs.</summary>
internal static class TopologyTree
{
    // Access Control Services, PCI Express Base Specification 7.7.11: the bits that Linux asks for before it lets functions behind a port have groups
    // of their own.
    private const ushort AcsCapability = 0x0d, SourceValidation = 1, RequestRedirect = 4, CompletionRedirect = 8, UpstreamForwarding = 16;

    /// <summary>The roots: functions that sit on no other function.</summary>
    public static IReadOnlyList<TopologyNode> Read(Session session)
    {
        _ = session.Bus.List(out PciFunction[] functions);
        Dictionary<PciAddress, TopologyNode> nodes = functions.ToDictionary(static function => function.Address,
            function => new TopologyNode(function, Acs(session.Sysfs, function)));
        List<TopologyNode> roots = [];
        foreach (TopologyNode node in nodes.Values)
        {
            if (Parent(session.Sysfs, node.Function.Address) is { } parent && nodes.TryGetValue(parent, out TopologyNode? above))
            {
                above.Children.Add(node);
            }
            else
            {
                roots.Add(node);
            }
        }

        return roots;
    }

    private static PciAddress? Parent(ISysfs sysfs, PciAddress address)
    {
        if (sysfs.ReadLink(PciBus.DevicePath(address), out string target) < 0)
        {
            return null;
        }

        string[] parts = target.Split('/');
        return parts.Length > 1 && PciAddress.TryParse(parts[^2], out PciAddress parent) ? parent : null;
    }

    private static string? Acs(ISysfs sysfs, PciFunction function)
    {
        if (!function.IsBridge)
        {
            return null;
        }

        if (PciConfigSpace.Read(sysfs, function.Address) is not { HasCapabilities: true } config)
        {
            return "isolation unknown: capabilities are shown to root only";
        }

        if (config.Find(0x10, false) is not { } express)
        {
            return "conventional PCI: everything behind it shares one group";
        }

        int type = (config.Word(express.Offset + 2) >> 4) & 15;
        if (type is 7)
        {
            return "bridge to conventional PCI: everything behind it shares one group";
        }

        if (type is not (4 or 6))
        {
            return null; // only root ports and downstream ports decide what their neighbours can reach
        }

        if (config.Find(AcsCapability, true) is not { } acs)
        {
            return "no ACS: functions behind it can reach each other past the IOMMU";
        }

        const int wanted = SourceValidation | RequestRedirect | CompletionRedirect | UpstreamForwarding;
        int capable = config.Word(acs.Offset + 4), on = config.Word(acs.Offset + 6);
        return (on & wanted) == (capable & wanted) && (capable & SourceValidation) != 0 ? "ACS on: isolates"
            : "ACS off: functions behind it can reach each other past the IOMMU";
    }
}
