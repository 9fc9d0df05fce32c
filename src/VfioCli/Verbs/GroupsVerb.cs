using System.Globalization;
using CommandLine;
using IommuFd.Sysfs;
using VfioCli.Diagnosis;
using VfioCli.Output;

namespace VfioCli.Verbs;

/// <summary><c>vfio groups</c>.</summary>
[Verb("groups", HelpText = "List IOMMU groups with every member and its verdict: what keeps a group from user space, and what does not.")]
internal sealed class GroupsVerb : HostVerb
{
    /// <summary>Groups to keep.</summary>
    [Value(0, MetaName = "N", HelpText = "Only these groups.")]
    public IEnumerable<int> Groups { get; set; } = [];

    /// <inheritdoc/>
    public override ExitCode Run(Session session)
    {
        List<IommuGroup> groups = [.. session.Bus.AllGroups().Where(group => !Groups.Any() || Groups.Contains(group.Id))];
        if (Groups.FirstOrDefault(id => groups.All(group => group.Id != id), -1) is int missing and >= 0)
        {
            throw new CommandFailure(ExitCode.NotFound, $"there is no IOMMU group {missing} on {session.Host.Description}.",
                "`vfio groups` lists those that are there.");
        }

        if (groups.Count == 0)
        {
            Check why = IommuAbsence.Explain(session.Sysfs);
            throw new CommandFailure(ExitCode.Unsupported, $"{session.Host.Description} has no IOMMU groups: {why.Finding}.",
                why.Remedy) { Evidence = [.. why.Evidence] };
        }

        if (Json)
        {
            session.WriteJson("vfio.groups/1", writer =>
            {
                writer.WriteStartArray("groups");
                foreach (IommuGroup group in groups)
                {
                    writer.WriteStartObject();
                    writer.WriteNumber("id", group.Id);
                    writer.WriteString("domainType", group.DomainType);
                    writer.WriteBoolean("viable", !group.Blocking.Any());
                    writer.WriteStartArray("members");
                    foreach (PciFunction member in group.Members)
                    {
                        writer.WriteStartObject();
                        ListVerb.WriteMembers(writer, member);
                        writer.WriteString("claim", DriverClaim.Of(member).ToString());
                        writer.WriteString("verdict", Explanation.VerdictOf(member));
                        writer.WriteEndObject();
                    }

                    writer.WriteEndArray();
                    writer.WriteStrings("otherMembers", group.OtherMembers);
                    writer.WriteEndObject();
                }

                writer.WriteEndArray();
            });
            return ExitCode.Ok;
        }

        Table table = new("GROUP", "ADDRESS", "CLASS", "DRIVER", "VERDICT");
        foreach (IommuGroup group in groups)
        {
            foreach (PciFunction member in group.Members)
            {
                table.Add(group.Id.ToString(CultureInfo.InvariantCulture), member.Address.ToString(), PciClass.Name(member.Class), member.Driver,
                    Explanation.VerdictOf(member));
            }

            foreach (string other in group.OtherMembers)
            {
                table.Add(group.Id.ToString(CultureInfo.InvariantCulture), other, "not PCI", null, "not judged");
            }
        }

        session.Terminal.Print(table);
        return ExitCode.Ok;
    }
}
