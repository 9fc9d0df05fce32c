namespace IommuFd;

/// <summary>What a region allows. The values are those of VFIO_REGION_INFO_FLAG_*.</summary>
[Flags]
public enum RegionAccess
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>pread.</summary>
    Read = 1 << 0,

    /// <summary>pwrite.</summary>
    Write = 1 << 1,

    /// <summary>mmap, at least of a part.</summary>
    Mmap = 1 << 2,
}

/// <summary>A part of a region, in bytes from its start.</summary>
/// <param name="Offset">Where it starts.</param>
/// <param name="Length">Bytes.</param>
public readonly record struct RegionArea(ulong Offset, ulong Length);

/// <summary>VFIO_DEVICE_GET_REGION_INFO: one of a device's regions.</summary>
/// <param name="Index">The region's number: for PCI 0..5 the BARs, 6 the ROM, 7 the configuration space, 8 VGA, then device-specific ones.</param>
/// <param name="Access">What it allows.</param>
/// <param name="Size">Bytes; 0 when the device does not have it.</param>
/// <param name="Offset">Where it starts in the device's file.</param>
/// <param name="MmapAreas">The parts that may be mapped; the whole region unless the device says less (sparse mmap capability).</param>
public sealed record RegionInfo(uint Index, RegionAccess Access, ulong Size, ulong Offset, IReadOnlyList<RegionArea> MmapAreas);
