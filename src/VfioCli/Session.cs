using IommuFd;
using IommuFd.Native;
using IommuFd.Sysfs;
using VfioCli.Hosts;
using VfioCli.Output;

namespace VfioCli;

/// <summary>One run of a verb: the host, the terminal and what both are asked for.</summary>
internal sealed class Session(OpenedHost opened, Terminal terminal) : IDisposable
{
    /// <summary>The host.</summary>
    public IommuHost Iommu { get; } = opened.Iommu;

    /// <summary>Whether it is the simulator standing in for a missing kernel.</summary>
    public bool Fallback { get; } = opened.Fallback;

    /// <summary>The seam under it.</summary>
    public IHost Host => Iommu.Host;

    /// <summary>Where results go.</summary>
    public Terminal Terminal { get; } = terminal;

    /// <summary>The host's files.</summary>
    public ISysfs Sysfs => Host.Sysfs;

    /// <summary>The host's PCI functions and groups.</summary>
    public PciBus Bus { get; } = new(opened.Iommu.Sysfs);

    /// <summary>What changes of drivers must not forget.</summary>
    public IBindingStore Store { get; } = opened.Store;

    /// <summary>Prints one JSON document with the host's description.</summary>
    public void WriteJson(string schema, Action<System.Text.Json.Utf8JsonWriter> body) => JsonReport.Write(Terminal, schema, writer =>
    {
        writer.WriteStartObject("host");
        writer.WriteString("kind", Host.Kind switch { HostKind.Kernel => "kernel", HostKind.Simulator => "simulator", _ => "capture" });
        writer.WriteString("description", Host.Description);
        writer.WriteBoolean("fallback", Fallback);
        writer.WriteEndObject();
        body(writer);
    });

    /// <summary>The function at an address as typed.</summary>
    /// <exception cref="CommandFailure">It is no address, or nothing is there.</exception>
    public PciFunction Function(string text)
    {
        if (!PciAddress.TryParse(text, out PciAddress address))
        {
            throw new CommandFailure(ExitCode.Usage, $"'{text}' is not a PCI address.",
                "Write it as 0000:00:04.0 or 00:04.0 (hexadecimal domain:bus:device.function); `vfio list` shows them.");
        }

        return Bus.Find(address) ?? throw new CommandFailure(ExitCode.NotFound, $"{address}: there is no such PCI function on {Host.Description}.",
            "`vfio list` shows the functions that are there.")
        {
            Errno = Errno.ENOENT,
            Evidence = [$"{PciBus.DevicePath(address)}=absent"],
        };
    }

    /// <summary>The functions at addresses as typed, each once, in the order typed.</summary>
    public IReadOnlyList<PciFunction> FunctionsAt(IEnumerable<string> texts) =>
        [.. texts.Select(Function).DistinctBy(static function => function.Address)];

    /// <inheritdoc/>
    public void Dispose()
    {
        (Store as IDisposable)?.Dispose();
        Iommu.Dispose();
    }
}
