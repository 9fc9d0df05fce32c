using CommandLine;
using IommuFd.Sysfs;
using VfioCli.Diagnosis;

namespace VfioCli.Verbs;

/// <summary><c>vfio explain</c>.</summary>
[Verb("explain", HelpText = "Say whether functions can be attached, why not, and the one command that changes it.")]
internal sealed class ExplainVerb : FunctionsVerb
{
    /// <inheritdoc/>
    internal override bool WantsThisMachine => true;

    /// <inheritdoc/>
    public override ExitCode Run(Session session)
    {
        Explanation[] explanations = [.. session.FunctionsAt(Functions).Select(function => Explanation.Of(session, function))];
        if (Json)
        {
            session.WriteJson("vfio.explain/1", writer =>
            {
                writer.WriteStartArray("functions");
                foreach (Explanation explanation in explanations)
                {
                    writer.WriteStartObject();
                    writer.WriteString("address", explanation.Function.Address.ToString());
                    writer.WriteBoolean("canAttach", explanation.CanAttach);
                    writer.WriteString("verdict", explanation.Verdict);
                    writer.WriteString("command", explanation.Command);
                    Check.Write(writer, "checks", explanation.Checks);
                    writer.WriteStartArray("hostLoses");
                    foreach (HostUse use in explanation.Uses)
                    {
                        writer.WriteStartObject();
                        writer.WriteString("kind", use.Kind.ToString());
                        writer.WriteString("name", use.Name);
                        writer.WriteString("detail", use.Detail);
                        writer.WriteBoolean("vital", use.IsVital);
                        writer.WriteEndObject();
                    }

                    writer.WriteEndArray();
                    writer.WriteEndObject();
                }

                writer.WriteEndArray();
            });
        }

        foreach (Explanation explanation in explanations)
        {
            session.Terminal.Line(explanation.Verdict);
            foreach (HostUse use in explanation.Uses)
            {
                session.Terminal.Line($"{session.Terminal.Paint(use.IsVital ? "FAIL" : "WARN")}  host loses: {use}");
            }

            Check.Print(session.Terminal, explanation.Checks);
            if (explanation.Command is not null)
            {
                session.Terminal.Line($"next: {explanation.Command}");
            }
        }

        return explanations.All(static explanation => explanation.CanAttach) ? ExitCode.Ok : ExitCode.No;
    }
}
