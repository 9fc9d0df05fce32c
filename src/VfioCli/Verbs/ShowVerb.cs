using System.Globalization;
using System.Text.Json;
using CommandLine;
using IommuFd.Native;
using IommuFd.Sysfs;
using VfioCli.CommandLine;
using VfioCli.Output;

namespace VfioCli.Verbs;

/// <summary><c>vfio show</c>.</summary>
[Verb("show", HelpText = "Show one or more functions in full: driver, group and its members, BARs, capabilities, reset, SR-IOV.")]
internal sealed class ShowVerb : FunctionsVerb
{
    /// <inheritdoc/>
    public override ExitCode Run(Session session)
    {
        IReadOnlyList<FunctionReport> reports = [.. session.FunctionsAt(Functions).Select(function => FunctionReport.Read(session, function))];
        if (Json)
        {
            session.WriteJson("vfio.show/1", writer =>
            {
                writer.WriteStartArray("functions");
                foreach (FunctionReport report in reports)
                {
                    Write(writer, report);
                }

                writer.WriteEndArray();
            });
            return ExitCode.Ok;
        }

        foreach (FunctionReport report in reports)
        {
            Print(session.Terminal, report);
        }

        return ExitCode.Ok;
    }

    private static void Print(Terminal terminal, FunctionReport report)
    {
        PciFunction function = report.Function;
        terminal.Line($"{function.Address}  {function.Vendor:x4}:{function.Device:x4}  {PciClass.Name(function.Class)}");
        Field("driver", function.Driver ?? "none");
        if (report.Override is not null)
        {
            Field("driver_override", report.Override);
        }

        if (report.Original is { } original)
        {
            Field("driver before", original.Driver ?? "none");
        }

        Field("node", function.DeviceNode ?? (function.VfioDevice is null
            ? "none (not on a VFIO driver)"
            : $"none ({function.VfioDevice} has no character device: the kernel lacks CONFIG_VFIO_DEVICE_CDEV)"));
        Field("NUMA node", function.NumaNode < 0 ? "not said" : function.NumaNode.ToString(CultureInfo.InvariantCulture));
        Field("IOMMU", report.Iommu ?? "none");
        if (report.Group is { } group)
        {
            Field("group",
                $"{group.Id} ({group.Members.Count + group.OtherMembers.Count}"
                    + $" member{(group.Members.Count + group.OtherMembers.Count == 1 ? "" : "s")}, default domain {group.DomainType ?? "not said"})");
            foreach (PciFunction member in group.Members.Where(member => member.Address != function.Address))
            {
                Field("", $"with {member.Address} {PciClass.Name(member.Class)}, driver {member.Driver ?? "none"}");
            }

            foreach (ReservedRegion region in group.ReservedRegions)
            {
                Field("reserved", $"0x{region.First:x}-0x{region.Last:x} {region.Type}");
            }
        }
        else
        {
            Field("group", "none: no IOMMU stands in front of this function");
        }

        foreach (PciResource resource in report.Resources)
        {
            Field(resource.Name,
                $"0x{resource.First:x} {NumberText.Size(resource.Length)}"
                    + (resource.IsIo ? " I/O ports" : resource.Is64Bit ? " 64-bit" : " 32-bit")
                    + (resource.IsPrefetchable ? " prefetchable" : ""));
        }

        foreach (HostUse use in report.Uses)
        {
            Field("host loses", use.ToString());
        }

        foreach (DeviceHolder holder in report.Holders)
        {
            Field("held by", $"{holder}, {holder.Node}");
        }

        Field("reset", report.ResetMethods is null ? "no method" : report.ResetMethods.Replace(" ", ", then ", StringComparison.Ordinal));
        if (report.AlsoReset.Count > 0)
        {
            Field("", $"a bus reset also hits {string.Join(", ", report.AlsoReset)}");
        }

        Field("power", report.PowerState ?? "not said");
        if (report.TotalVfs is { } total)
        {
            Field("SR-IOV", $"{report.Vfs ?? 0} of {total} VFs{(report.VfAddresses.Count > 0 ? ": " + string.Join(", ", report.VfAddresses) : "")}");
        }

        if (report.PhysicalFunction is { } physical)
        {
            Field("VF of", physical);
        }

        if (report.Config is null || report.Config.IsAllOnes)
        {
            Field("capabilities",
                report.Config is null
                    ? "configuration space cannot be read"
                    : "configuration space reads as all ones: the function is off or lost, only a host reset helps");
        }
        else
        {
            Field("capabilities", !report.Config.HasCapabilities
                ? "shown to root only"
                : report.Config.Capabilities.Count == 0 ? "none"
                : string.Join(", ", report.Config.Capabilities.Select(static capability => capability.Name)));
        }

        void Field(string name, string value) => terminal.Line($"  {name,-16}{value}");
    }

    private static void Write(Utf8JsonWriter writer, FunctionReport report)
    {
        writer.WriteStartObject();
        ListVerb.WriteMembers(writer, report.Function);
        writer.WriteString("driverOverride", report.Override);
        writer.WriteString("driverBefore", report.Original?.Driver);
        writer.WriteString("iommu", report.Iommu);
        writer.WriteStartArray("groupMembers");
        foreach (PciFunction member in report.Group?.Members ?? [])
        {
            writer.WriteStartObject();
            ListVerb.WriteMembers(writer, member);
            writer.WriteEndObject();
        }

        writer.WriteEndArray();
        writer.WriteStartArray("reservedRegions");
        foreach (ReservedRegion region in report.Group?.ReservedRegions ?? [])
        {
            writer.WriteStartObject();
            writer.WriteHex("first", region.First);
            writer.WriteHex("last", region.Last);
            writer.WriteString("type", region.Type);
            writer.WriteEndObject();
        }

        writer.WriteEndArray();
        writer.WriteStartArray("resources");
        foreach (PciResource resource in report.Resources)
        {
            writer.WriteStartObject();
            writer.WriteString("name", resource.Name);
            writer.WriteHex("address", resource.First);
            writer.WriteNumber("length", resource.Length);
            writer.WriteString("space", resource.IsIo ? "io" : "memory");
            writer.WriteBoolean("prefetchable", resource.IsPrefetchable);
            writer.WriteEndObject();
        }

        writer.WriteEndArray();
        writer.WriteStrings("hostLoses", report.Uses.Select(static use => use.ToString()));
        writer.WriteStrings("heldBy", report.Holders.Select(static holder => holder.ToString()));
        writer.WriteStrings("resetMethods", report.ResetMethods?.Split(' ') ?? []);
        writer.WriteStrings("alsoReset", report.AlsoReset.Select(static address => address.ToString()));
        writer.WriteString("powerState", report.PowerState);
        writer.WriteNumberOrNull("totalVfs", report.TotalVfs);
        writer.WriteStrings("vfs", report.VfAddresses);
        writer.WriteString("physicalFunction", report.PhysicalFunction);
        writer.WriteStrings("capabilities", report.Config?.Capabilities.Select(static capability => capability.Name) ?? []);
        writer.WriteEndObject();
    }
}
