using IommuFd;
using IommuFd.Sysfs;

namespace RfcFlows;

/// <summary>What a flow runs on.</summary>
/// <param name="Host">The machine.</param>
/// <param name="Kind">The kernel interface, or null for the best there is.</param>
/// <param name="Device1">A device that can do DMA.</param>
/// <param name="Device2">Another one, of another IOMMU group.</param>
/// <param name="Probe">Makes a bound device do DMA; null: by its vendor and device number.</param>
public sealed record FlowMachine(IommuHost Host, ContextKind? Kind, PciAddress Device1, PciAddress Device2, Func<BoundDevice, IDmaProbe>? Probe = null)
{
    /// <summary>Shows how a request is translated, where somebody can see that: device, PASID, IOVA; null where nobody can.</summary>
    public Func<PciAddress, uint?, ulong, IReadOnlyList<string>>? Walk { get; init; }

    /// <summary>Finds two devices whose DMA engine is known, of different groups.</summary>
    /// <exception cref="InvalidOperationException">There are no two.</exception>
    public static FlowMachine Find(IommuHost host, ContextKind? kind = null)
    {
        ArgumentNullException.ThrowIfNull(host);
        _ = new PciBus(host.Sysfs).List(out PciFunction[] functions);
        PciFunction[] known = [.. functions.Where(static function => DmaProbe.Knows(function.Vendor, function.Device) && function.Group is not null).DistinctBy(static function => function.Group)];
        return known.Length >= 2
            ? new FlowMachine(host, kind, known[0].Address, known[1].Address)
            : throw new InvalidOperationException($"{host.Description} has no two devices with a known DMA engine ({DmaProbe.Known}) in groups of their own.");
    }
}
