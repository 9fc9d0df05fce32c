using System.Globalization;
using System.IO.Enumeration;
using System.Text.Json;
using CommandLine;
using CommandLine.Text;
using IommuFd.Native;
using IommuFd.Sysfs;
using VfioCli.Output;

namespace VfioCli.Verbs;

/// <summary><c>vfio list</c>.</summary>
[Verb("list", HelpText = "List PCI functions with driver, IOMMU group and VFIO node.")]
internal sealed class ListVerb : HostVerb
{
    /// <summary>Addresses to keep.</summary>
    [Value(0, MetaName = "PATTERN", HelpText = "Only functions whose address matches: 0000:01:*, *.0.")]
    public IEnumerable<string> Patterns { get; set; } = [];

    /// <summary>Drivers to keep.</summary>
    [Option("driver", MetaValue = "GLOB", HelpText = "Only functions with this driver; none for functions without one.")]
    public string? Driver { get; set; }

    /// <summary>Groups to keep.</summary>
    [Option("group", MetaValue = "N", HelpText = "Only members of this IOMMU group; none for functions without one.")]
    public string? Group { get; set; }

    /// <summary>Classes to keep.</summary>
    [Option("class", MetaValue = "CLASS", HelpText = "Only this class: the beginning of the code (02, 0108) or of the name (ethernet, nvme).")]
    public string? Class { get; set; }

    /// <summary>Vendors to keep.</summary>
    [Option("vendor", MetaValue = "ID", HelpText = "Only this vendor, or vendor:device (8086, 8086:10c9).")]
    public string? Vendor { get; set; }

    /// <summary>Examples for the help.</summary>
    [Usage(ApplicationAlias = "vfio")]
    public static IEnumerable<Example> Examples =>
    [
        Example("Everything", new ListVerb()),
        Example("NVMe controllers that the host uses", new ListVerb { Class = "nvme", Driver = "nvme" }),
    ];

    /// <inheritdoc/>
    public override ExitCode Run(Session session)
    {
        if (Group is not null and not "none" && !uint.TryParse(Group, NumberStyles.None, CultureInfo.InvariantCulture, out _))
        {
            throw new CommandFailure(ExitCode.Usage, $"'{Group}' is not a group.",
                "Give its number, or none for functions without one; `vfio groups` shows them.");
        }

        int result = session.Bus.List(out PciFunction[] functions);
        if (result < 0)
        {
            throw new CommandFailure(ExitCode.NotFound, $"{session.Host.Description} shows no PCI bus.",
                $"{PciBus.Devices} must be readable; is /sys mounted?")
            {
                Errno = -result,
                Evidence = [$"{PciBus.Devices}={Errno.Name(-result)}"],
            };
        }

        PciFunction[] kept = [.. functions.Where(Matches)];
        if (Json)
        {
            session.WriteJson("vfio.list/1", writer =>
            {
                writer.WriteStartArray("functions");
                foreach (PciFunction function in kept)
                {
                    writer.WriteStartObject();
                    WriteMembers(writer, function);
                    writer.WriteEndObject();
                }

                writer.WriteEndArray();
            });
            return ExitCode.Ok;
        }

        session.Terminal.Print(Table(kept));
        return ExitCode.Ok;
    }

    /// <summary>Functions as every table has them.</summary>
    internal static Table Table(IEnumerable<PciFunction> functions)
    {
        Table table = new("ADDRESS", "ID", "CLASS", "DRIVER", "GROUP", "NODE", "NUMA");
        foreach (PciFunction function in functions)
        {
            table.Add(
                function.Address.ToString(),
                $"{function.Vendor:x4}:{function.Device:x4}",
                PciClass.Name(function.Class),
                function.Driver,
                function.Group?.ToString(CultureInfo.InvariantCulture),
                function.DeviceNode,
                function.NumaNode < 0 ? null : function.NumaNode.ToString(CultureInfo.InvariantCulture));
        }

        return table;
    }

    /// <summary>The members that every document uses for a function.</summary>
    internal static void WriteMembers(Utf8JsonWriter writer, PciFunction function)
    {
        writer.WriteString("address", function.Address.ToString());
        writer.WriteString("vendor", function.Vendor.ToString("x4", CultureInfo.InvariantCulture));
        writer.WriteString("device", function.Device.ToString("x4", CultureInfo.InvariantCulture));
        writer.WriteString("class", function.Class.ToString("x6", CultureInfo.InvariantCulture));
        writer.WriteString("className", PciClass.Name(function.Class));
        writer.WriteString("driver", function.Driver);
        writer.WriteNumberOrNull("group", function.Group);
        writer.WriteString("node", function.DeviceNode);
        writer.WriteNumberOrNull("numaNode", function.NumaNode < 0 ? null : function.NumaNode);
    }

    private bool Matches(PciFunction function)
    {
        string address = function.Address.ToString();
        return (!Patterns.Any() || Patterns.Any(pattern => Glob(pattern, address) || Glob("0000:" + pattern, address)))
            && (Driver is null || (Driver == "none" ? function.Driver is null : Glob(Driver, function.Driver ?? "")))
            && (Group is null || (Group == "none" ? function.Group is null : function.Group?.ToString(CultureInfo.InvariantCulture) == Group))
            && (Class is null || function.Class.ToString("x6", CultureInfo.InvariantCulture).StartsWith(Class, StringComparison.OrdinalIgnoreCase)
                || PciClass.Name(function.Class).StartsWith(Class, StringComparison.OrdinalIgnoreCase))
            && (Vendor is null || $"{function.Vendor:x4}:{function.Device:x4}".StartsWith(Vendor, StringComparison.OrdinalIgnoreCase));
    }

    private static bool Glob(string pattern, string text) => FileSystemName.MatchesSimpleExpression(pattern, text);
}
