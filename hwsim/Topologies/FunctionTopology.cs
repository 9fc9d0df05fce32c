namespace IommuFd.HwSim;

/// <summary>One PCI function of a topology.</summary>
public sealed record FunctionTopology
{
    /// <summary>Where it is, as Linux names it: <c>0000:00:04.0</c>.</summary>
    public required string Address { get; init; }

    /// <summary>
    /// The device model behind it, such as <c>edu</c>; null for a function that has a configuration space and BARs that read as zero.
    /// </summary>
    public string? Model { get; init; }

    /// <summary>What the model can be told, such as edu's <c>dma_mask</c>.</summary>
    public IReadOnlyDictionary<string, string> Properties { get; init; } = new Dictionary<string, string>();

    /// <summary>Vendor id.</summary>
    public ushort Vendor { get; init; }

    /// <summary>Device id.</summary>
    public ushort Device { get; init; }

    /// <summary>Subsystem vendor id.</summary>
    public ushort SubsystemVendor { get; init; }

    /// <summary>Subsystem device id.</summary>
    public ushort SubsystemDevice { get; init; }

    /// <summary>Class code, 24 bits: base class, sub-class, programming interface.</summary>
    public uint Class { get; init; }

    /// <summary>Revision.</summary>
    public byte Revision { get; init; }

    /// <summary>Bytes of the configuration space: 256, or 4096 for PCI Express.</summary>
    public int ConfigSize { get; init; } = 256;

    /// <summary>Bytes of the configuration space by offset, laid over what ids and BARs give: capabilities and device-specific registers.</summary>
    public IReadOnlyDictionary<int, byte[]> Config { get; init; } = new Dictionary<int, byte[]>();

    /// <summary>The BARs.</summary>
    public IReadOnlyList<BarTopology> Bars { get; init; } = [];

    /// <summary>BARs of the virtual functions, for a function with SR-IOV.</summary>
    public IReadOnlyList<BarTopology> VfBars { get; init; } = [];

    /// <summary>Configuration space of a virtual function beyond its ids, in the form of <see cref="Config"/>.</summary>
    public IReadOnlyDictionary<int, byte[]> VfConfig { get; init; } = new Dictionary<int, byte[]>();

    /// <summary>The interrupt line's number on this machine; 0 without one.</summary>
    public uint Irq { get; init; }

    /// <summary>Interrupt pin: 0 none, 1 INTA.</summary>
    public byte InterruptPin { get; init; }

    /// <summary>The bus below, for a bridge.</summary>
    public byte? SecondaryBus { get; init; }

    /// <summary>True for a bridge port that keeps devices apart (ACS).</summary>
    public bool Acs { get; init; }

    /// <summary>NUMA node, -1 when unknown.</summary>
    public int NumaNode { get; init; } = -1;

    /// <summary>True when the IOMMU does not see the function at all.</summary>
    public bool BypassIommu { get; init; }

    /// <summary>Ranges that firmware demands. With a <c>direct</c> one (RMRR) the kernel refuses to hand the device out.</summary>
    public IReadOnlyList<ReservedTopology> Reserved { get; init; } = [];
}

/// <summary>A range of bus addresses that the platform reserves for a function.</summary>
/// <param name="Start">First address.</param>
/// <param name="End">Last address, inclusive.</param>
/// <param name="Type"><c>direct</c>, <c>direct-relaxable</c> or <c>reserved</c>.</param>
public readonly record struct ReservedTopology(ulong Start, ulong End, string Type);

/// <summary>What a BAR decodes.</summary>
public enum BarKind
{
    /// <summary>I/O ports.</summary>
    Io,

    /// <summary>Memory below 4 GiB.</summary>
    Memory32,

    /// <summary>Memory anywhere; takes two BARs.</summary>
    Memory64,

    /// <summary>Prefetchable memory below 4 GiB.</summary>
    Prefetchable32,

    /// <summary>Prefetchable memory anywhere; takes two BARs.</summary>
    Prefetchable64,
}

/// <summary>One BAR of a topology.</summary>
public sealed record BarTopology
{
    /// <summary>0..5.</summary>
    public required int Index { get; init; }

    /// <summary>What it decodes.</summary>
    public BarKind Kind { get; init; } = BarKind.Memory32;

    /// <summary>Bytes, a power of two.</summary>
    public required ulong Size { get; init; }

    /// <summary>Where firmware put it; 0 lets the simulator choose.</summary>
    public ulong Address { get; init; }

    /// <summary>True when the BAR is plain memory that may be mmapped: no side effect of a register is lost.</summary>
    public bool Memory { get; init; }

    /// <summary>
    /// True when the BAR's registers may be mmapped: the program gets memory that a thread of the device compares with them (<c>"mmap":
    /// "polled"</c>).
    /// </summary>
    public bool IsPolled { get; init; }
}
