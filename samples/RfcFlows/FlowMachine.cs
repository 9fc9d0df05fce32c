using IommuFd;
using IommuFd.Sysfs;

namespace RfcFlows;

/// <summary>What a flow runs on.</summary>
/// <param name="Host">The machine.</param>
/// <param name="Kind">The kernel interface, or null for the best there is.</param>
/// <param name="Device1">A device that can do DMA.</param>
/// <param name="Device2">Another one, of another IOMMU group.</param>
/// <param name="Probe">Makes a bound device do DMA; null: by its vendor and device number.</param>
public sealed record FlowMachine(
    IommuHost Host, ContextKind? Kind, PciAddress Device1, PciAddress Device2, Func<BoundDevice, IDmaProbe>? Probe = null)
{
    /// <summary>Shows how a request is translated, where somebody can see that: device, PASID, IOVA; null where nobody can.</summary>
    public Func<PciAddress, uint?, ulong, IReadOnlyList<string>>? Walk { get; init; }

    /// <summary>A device with PASIDs and page requests.</summary>
    /// <exception cref="NotSupportedException">The machine has none.</exception>
    public PciAddress PasidDevice =>
        Pasid ?? throw new NotSupportedException(
        $"{Host.Description} has no device with PASIDs whose DMA engine is known; the simulated machines intel-scalable and rfc have one.");

    /// <summary>The device of <see cref="PasidDevice"/>, or null.</summary>
    public PciAddress? Pasid { get; init; }

    /// <summary>The devices that a flow needs.</summary>
    public IReadOnlyList<PciAddress> DevicesOf(Flow flow)
    {
        ArgumentNullException.ThrowIfNull(flow);
        return flow.NeedsPasids ? [PasidDevice] : [Device1, Device2];
    }

    /// <summary>Finds two educational devices of different groups, and a device with PASIDs where there is one.</summary>
    /// <exception cref="NotSupportedException">There are no two.</exception>
    public static FlowMachine Find(IommuHost host, ContextKind? kind = null)
    {
        ArgumentNullException.ThrowIfNull(host);
        PciBus bus = new(host.Sysfs);
        _ = bus.List(out PciFunction[] functions);

        // Best alone in their groups: members would have to move together, and behind a bridge to conventional PCI Linux refuses the DMA in VT-d's
        // scalable mode. The second one matters more: it changes its space in every flow.
        PciFunction[] known =
            [.. functions.Where(static function => (function.Vendor, function.Device) is (0x1234, 0x11e8) && function.Group is not null)
            .DistinctBy(static function => function.Group).OrderBy(function => bus.Group(function.Group!.Value)?.Members.Count).Take(2).Reverse()];
        return known.Length == 2
            ? new FlowMachine(host, kind, known[0].Address, known[1].Address) { Pasid = functions.FirstOrDefault(
                static function => (function.Vendor, function.Device) is (0x1234, 0xa51d))?.Address }
            : throw new NotSupportedException(
                $"{host.Description} has no two devices with a known DMA engine ({DmaProbe.Known}) in groups of their own.");
    }
}
