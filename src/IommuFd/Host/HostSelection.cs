using IommuFd.Native;

namespace IommuFd;

/// <summary>Which world a program wants to run on. Text forms (option <c>--host</c>, variable <c>VFIO_HOST</c>): <c>auto</c>, <c>kernel</c>,
/// <c>sim</c>, or the path of a capture.</summary>
/// <param name="Kind">The world, or null: the kernel when <c>/dev/iommu</c> answers, else the simulator.</param>
/// <param name="Path">The capture's directory or tar file; null for the others.</param>
/// <param name="Topology">The simulated machine: a topology's name or a JSON file; null is the default machine. Read for the simulator only.</param>
public sealed record HostSelection(HostKind? Kind, string? Path = null, string? Topology = null)
{
    /// <summary>The environment variable that decides when the program does not.</summary>
    public const string Variable = "VFIO_HOST";

    /// <summary>The kernel when <c>/dev/iommu</c> answers, else the simulator. <c>VFIO_HOST</c> overrides it.</summary>
    public static HostSelection Auto { get; } = new((HostKind?)null);

    /// <summary>The running kernel, whatever it has.</summary>
    public static HostSelection Kernel { get; } = new(HostKind.Kernel);

    /// <summary>The default simulated machine.</summary>
    public static HostSelection Simulator { get; } = new(HostKind.Simulator);

    /// <summary>Files taken from a machine: a directory or a tar file.</summary>
    public static HostSelection Capture(string path) => new(HostKind.Capture, path);

    /// <summary>Reads a text form; anything that is not one of the three words is the path of a capture.</summary>
    public static HostSelection Parse(string text)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(text);
        return text switch
        {
            "auto" => Auto,
            "kernel" => Kernel,
            "sim" => Simulator,
            _ => Capture(text),
        };
    }
}
