using System.Globalization;
using IommuFd.Native;

namespace IommuFd.Sysfs;

/// <summary>A range of IOVAs that the platform keeps for itself, as <c>reserved_regions</c> of a group says.</summary>
/// <param name="First">The first address.</param>
/// <param name="Last">The last address, inclusive.</param>
/// <param name="Type">The kernel's word: <c>direct</c> (RMRR: identity mapped, blocks assignment), <c>direct-relaxable</c>, <c>reserved</c>,
/// <c>msi</c>.</param>
public readonly record struct ReservedRegion(ulong First, ulong Last, string Type)
{
    internal static IReadOnlyList<ReservedRegion> Read(ISysfs sysfs, string path)
    {
        List<ReservedRegion> regions = [];
        foreach (string line in (sysfs.Attribute(path) ?? "").Split('\n', StringSplitOptions.RemoveEmptyEntries))
        {
            string[] words = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            if (words.Length >= 3 && SysfsReading.ParseNumber(words[0]) is { } first && SysfsReading.ParseNumber(words[1]) is { } last)
            {
                regions.Add(new ReservedRegion((ulong)first, (ulong)last, words[2]));
            }
        }

        return regions;
    }
}

/// <summary>A set of devices that the IOMMU cannot tell apart: they go to user space together or not at all.</summary>
public sealed record IommuGroup
{
    /// <summary>The group's number in <c>/sys/kernel/iommu_groups</c>.</summary>
    public required int Id { get; init; }

    /// <summary>Its PCI functions.</summary>
    public required IReadOnlyList<PciFunction> Members { get; init; }

    /// <summary>Members on other buses (platform, mdev), by name.</summary>
    public IReadOnlyList<string> OtherMembers { get; init; } = [];

    /// <summary>
    /// The type of the default domain: <c>DMA</c>, <c>DMA-FQ</c>, <c>identity</c>, <c>blocked</c>, <c>auto</c>; null when not said.
    /// </summary>
    public string? DomainType { get; init; }

    /// <summary>IOVAs that the platform keeps.</summary>
    public IReadOnlyList<ReservedRegion> ReservedRegions { get; init; } = [];

    /// <summary>The members whose driver keeps the group from user space.</summary>
    public IEnumerable<PciFunction> Blocking => Members.Where(static member => DriverClaim.Of(member) == DriverClaimKind.HostDma);

    /// <summary><c>/dev/vfio/N</c>: the legacy group node, present while a member is on a VFIO driver.</summary>
    public string GroupNode => "/dev/vfio/" + Id.ToString(CultureInfo.InvariantCulture);
}
