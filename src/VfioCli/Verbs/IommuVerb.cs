using CommandLine;
using VfioCli.Diagnosis;
using VfioCli.Output;

namespace VfioCli.Verbs;

/// <summary><c>vfio iommu</c>.</summary>
[Verb("iommu", HelpText = "Show the IOMMU units of the host with their capabilities decoded.")]
internal sealed class IommuVerb : HostVerb
{
    /// <inheritdoc/>
    public override ExitCode Run(Session session)
    {
        IReadOnlyList<IommuUnit> units = IommuUnit.ReadAll(session.Sysfs);
        if (units.Count == 0)
        {
            Check why = IommuAbsence.Explain(session.Sysfs);
            throw new CommandFailure(ExitCode.Unsupported, $"{session.Host.Description} shows no IOMMU: {why.Finding}.",
                why.Remedy) { Evidence = [.. why.Evidence] };
        }

        if (Json)
        {
            session.WriteJson("vfio.iommu/1", writer =>
            {
                writer.WriteStartArray("units");
                foreach (IommuUnit unit in units)
                {
                    writer.WriteStartObject();
                    writer.WriteString("name", unit.Name);
                    writer.WriteString("family", unit.Family);
                    writer.WriteNumber("devices", unit.Devices);
                    writer.WriteStartObject("registers");
                    foreach ((string name, ulong value) in unit.Registers)
                    {
                        writer.WriteHex(name, value);
                    }

                    writer.WriteEndObject();
                    writer.WriteStartObject("capabilities");
                    foreach ((string name, string value) in unit.Capabilities)
                    {
                        writer.WriteString(name, value);
                    }

                    writer.WriteEndObject();
                    writer.WriteEndObject();
                }

                writer.WriteEndArray();
            });
            return ExitCode.Ok;
        }

        foreach (IommuUnit unit in units)
        {
            session.Terminal.Line($"{unit.Name}  {unit.Family}, {unit.Devices} device{(unit.Devices == 1 ? "" : "s")} behind it");
            foreach ((string name, ulong value) in unit.Registers)
            {
                session.Terminal.Line($"  {name,-22}0x{value:x}");
            }

            foreach ((string name, string value) in unit.Capabilities)
            {
                session.Terminal.Line($"  {name,-22}{value}");
            }
        }

        return ExitCode.Ok;
    }
}
