using System.Text.Json;

namespace IommuFd.HwSim;

/// <summary>
/// A machine as data: its kernel, its IOMMU, its PCI functions and the process that runs on it. Same topology and seed, same addresses, same trace.
/// </summary>
/// <remarks>The JSON form is described in docs/topology.md; <see cref="Names"/> are built in.</remarks>
public sealed record Topology
{
    /// <summary>Its name.</summary>
    public required string Name { get; init; }

    /// <summary>One line for people.</summary>
    public string Description { get; init; } = "";

    /// <summary>What /proc/sys/kernel/osrelease says.</summary>
    public string KernelRelease { get; init; } = "7.3.4";

    /// <summary>
    /// What /dev/iommu and /dev/vfio/devices speak: <c>mainline</c>, or <c>rfc</c>, the "/dev/iommu uAPI proposal" of 2021. Both have commands of the
    /// same numbers.
    /// </summary>
    public string Dialect { get; init; } = "mainline";

    /// <summary>What /proc/cmdline says.</summary>
    public string CommandLine { get; init; } = "";

    /// <summary>The IOMMU; null on a machine without one, or with it switched off.</summary>
    public IommuTopology? Iommu { get; init; }

    /// <summary>
    /// Parts of the kernel that are compiled out: <c>iommufd</c>, <c>vfio-cdev</c>, <c>vfio-group</c>, <c>vfio-noiommu</c>, <c>vfio-pci</c>,
    /// <c>mdev</c>.
    /// </summary>
    public IReadOnlyList<string> Without { get; init; } = [];

    /// <summary>Module parameters that differ from their default, as <c>module.parameter</c>.</summary>
    public IReadOnlyDictionary<string, string> Parameters { get; init; } = new Dictionary<string, string>();

    /// <summary>The process that uses the machine.</summary>
    public ProcessTopology Process { get; init; } = new();

    /// <summary>Ranges of /proc/iomem that a boot framebuffer or another owner holds, as <c>start-end : name</c>.</summary>
    public IReadOnlyList<string> Iomem { get; init; } = [];

    /// <summary>More files of the machine, by path: evidence that tools look for, such as a firmware table.</summary>
    public IReadOnlyDictionary<string, string> Files { get; init; } = new Dictionary<string, string>();

    /// <summary>Symbolic links of the machine, by path.</summary>
    public IReadOnlyDictionary<string, string> Links { get; init; } = new Dictionary<string, string>();

    /// <summary>Other processes that use devices from the start.</summary>
    public IReadOnlyList<HolderTopology> Holders { get; init; } = [];

    /// <summary>The PCI functions, in the order of their addresses.</summary>
    public required IReadOnlyList<FunctionTopology> Functions { get; init; }

    /// <summary>The built-in topologies; the first one is the default.</summary>
    public static IReadOnlyList<string> Names => BuiltInTopologies.Names;

    /// <summary>A built-in topology.</summary>
    /// <param name="name">One of <see cref="Names"/>.</param>
    /// <exception cref="TopologyException">There is none of that name.</exception>
    public static Topology ByName(string name) => BuiltInTopologies.TryGet(name, out string json)
        ? Parse(json)
        : throw new TopologyException($"there is no topology '{name}'; the built-in ones are {string.Join(", ", Names)}, and a path to a JSON"
            + " file also works");

    /// <summary>Reads the JSON form.</summary>
    /// <exception cref="TopologyException">The text is not a topology; the message names the place and the cause.</exception>
    public static Topology Parse(string json)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(TopologyMerge.Resolve(json), TopologyMerge.Options);
            return TopologyReader.Read(document.RootElement);
        }
        catch (JsonException e)
        {
            throw new TopologyException($"this is not JSON: {e.Message.TrimEnd('.')}", e);
        }
    }

    /// <summary>Reads a JSON file, or takes a built-in topology when there is no such file.</summary>
    /// <param name="pathOrName">A path, or one of <see cref="Names"/>.</param>
    /// <exception cref="TopologyException">It is neither.</exception>
    public static Topology Load(string pathOrName)
    {
        ArgumentException.ThrowIfNullOrEmpty(pathOrName);
        if (!File.Exists(pathOrName))
        {
            return ByName(pathOrName);
        }

        try
        {
            return Parse(File.ReadAllText(pathOrName));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new TopologyException($"{pathOrName} cannot be read: {e.Message}", e);
        }
        catch (TopologyException e)
        {
            throw new TopologyException($"{pathOrName}: {e.Message}", e);
        }
    }
}

/// <summary>Which IOMMU a machine has.</summary>
public sealed record IommuTopology
{
    /// <summary><c>intel</c>, <c>amd</c>, <c>arm-smmuv3</c> or <c>riscv</c>.</summary>
    public required string Kind { get; init; }

    /// <summary>True for the mode with PASIDs (VT-d scalable mode).</summary>
    public bool Scalable { get; init; }

    /// <summary>
    /// What a VT-d unit in scalable mode does not have: <c>first-stage</c>, <c>nesting</c>, <c>dirty-tracking</c>, <c>device-tlb</c>,
    /// <c>snoop-control</c>.
    /// </summary>
    public IReadOnlyList<string> Lacks { get; init; } = [];

    /// <summary>Width of an I/O virtual address in bits.</summary>
    public int AddressBits { get; init; } = 48;

    /// <summary>True when interrupts are remapped, so that a device cannot raise another one's.</summary>
    public bool InterruptRemapping { get; init; } = true;

    /// <summary>False when DMA cannot be made cache coherent; VFIO then refuses every device. Only <c>riscv</c> looks at it.</summary>
    public bool CacheCoherent { get; init; } = true;

    /// <summary>True when the unit is in scalable mode and does not lack a part.</summary>
    internal bool Has(string part) => Scalable && !Lacks.Contains(part);
}

/// <summary>Who uses the machine.</summary>
public sealed record ProcessTopology
{
    /// <summary>The uid.</summary>
    public uint UserId { get; init; }

    /// <summary>True when it has the capabilities that root has.</summary>
    public bool Privileged { get; init; } = true;

    /// <summary>RLIMIT_MEMLOCK in bytes; <see cref="ulong.MaxValue"/> is no limit.</summary>
    public ulong MemoryLock { get; init; } = 8 << 20;
}

/// <summary>A process that has devices open and bound to an iommufd of its own.</summary>
public sealed record HolderTopology
{
    /// <summary>Its process id.</summary>
    public required int ProcessId { get; init; }

    /// <summary>Its name.</summary>
    public required string Name { get; init; }

    /// <summary>The PCI addresses of the devices it holds.</summary>
    public required IReadOnlyList<string> Devices { get; init; }
}

/// <summary>A text that is not a topology. The message is one sentence with the cause.</summary>
public sealed class TopologyException : Exception
{
    /// <summary>Without a message.</summary>
    public TopologyException()
    {
    }

    /// <summary>With a message.</summary>
    public TopologyException(string message)
        : base(message)
    {
    }

    /// <summary>With a message and its cause.</summary>
    public TopologyException(string message, Exception inner)
        : base(message, inner)
    {
    }
}
