using static IommuFd.HwSim.Kernel.PciRegisters;

namespace IommuFd.HwSim.Kernel;

/// <summary>An address range that a function decodes (struct resource).</summary>
/// <param name="Start">First address; 0 when there is none.</param>
/// <param name="Length">Bytes; 0 when there is none.</param>
/// <param name="Flags">IORESOURCE_* and the low bits of the BAR.</param>
internal readonly record struct PciResource(ulong Start, ulong Length, uint Flags)
{
    /// <summary>Lines of a function's resource attribute: 6 BARs, the ROM, 6 BARs of virtual functions.</summary>
    public const int Count = 13;

    /// <summary>With the 4 windows of a bridge.</summary>
    public const int BridgeCount = 17;

    /// <summary>Index of the expansion ROM.</summary>
    public const int Rom = 6;

    /// <summary>Index of the first BAR of the virtual functions.</summary>
    public const int Iov = 7;

    /// <summary>Index of the first bridge window.</summary>
    public const int Window = 13;

    /// <summary>Last address.</summary>
    public ulong End => Length == 0 ? 0 : Start + Length - 1;

    /// <summary>True for memory.</summary>
    public bool IsMemory => (Flags & IORESOURCE_MEM) != 0;

    /// <summary>The resource of a BAR.</summary>
    public static PciResource Of(BarTopology bar, ulong address) => new(address, bar.Size, bar.Kind switch
    {
        BarKind.Io => IORESOURCE_IO | IORESOURCE_SIZEALIGN | 1,
        BarKind.Memory32 => IORESOURCE_MEM | IORESOURCE_SIZEALIGN,
        BarKind.Memory64 => IORESOURCE_MEM | IORESOURCE_SIZEALIGN | IORESOURCE_MEM_64 | 4,
        BarKind.Prefetchable32 => IORESOURCE_MEM | IORESOURCE_SIZEALIGN | IORESOURCE_PREFETCH | 8,
        _ => IORESOURCE_MEM | IORESOURCE_SIZEALIGN | IORESOURCE_MEM_64 | IORESOURCE_PREFETCH | 0xc,
    });
}
