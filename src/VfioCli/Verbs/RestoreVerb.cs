using CommandLine;
using IommuFd.Sysfs;
using VfioCli.Diagnosis;
using VfioCli.Hosts;

namespace VfioCli.Verbs;

/// <summary><c>vfio restore</c>.</summary>
[Verb("restore", HelpText = "Give every function that vfio has bound back to the driver it had; also finishes what a killed vfio command left.")]
internal sealed class RestoreVerb : HostVerb
{
    /// <summary>Functions to restore.</summary>
    [Value(0, MetaName = "BDF", HelpText = "Only these functions.")]
    public IEnumerable<string> Functions { get; set; } = [];

    /// <summary>Gives up.</summary>
    [Option("forget", HelpText = "Change no driver; forget what a killed command left and which drivers functions had.")]
    public bool Forget { get; set; }

    /// <inheritdoc/>
    public override ExitCode Run(Session session)
    {
        if (Forget)
        {
            return ForgetAll(session);
        }

        // What a killed command left was put back before this verb began; if that failed, the journal is still there.
        if (session.Store.Unfinished() is { Count: > 0 } unfinished)
        {
            throw new CommandFailure(ExitCode.Incomplete, $"not put back: {string.Join(", ", unfinished.Select(static before => before.Address))}.",
                "Run as root; `vfio explain` tells what holds a function.");
        }

        List<PciAddress> wanted = [.. session.FunctionsAt(Functions).Select(static function => function.Address)];
        List<OriginalBinding> remembered = [.. session.Store.Remembered().Where(original => wanted.Count == 0 || wanted.Contains(original.Address))];
        SysfsWriter writer = new(session.Host, TimeSpan.FromSeconds(10), session.Terminal.Remark);
        DriverBinder binder = new(session.Sysfs, session.Store, writer.Write);
        List<(PciAddress Address, string? Driver, CommandFailure? Failure)> results = [];
        foreach (OriginalBinding original in remembered)
        {
            if (session.Bus.Find(original.Address) is null)
            {
                session.Store.Forget(original.Address); // unplugged meanwhile
                continue;
            }

            // One at a time: a function that cannot be given back must not keep the others.
            CommandFailure? failure = null;
            try
            {
                TakeRules.CheckHolders(session, [session.Function(original.Address.ToString())]);
                failure = binder.Apply(binder.PlanReturn([original.Address])) is { } refused
                    ? BindText.Describe(session, refused, writer.TimeoutText)
                    : null;
            }
            catch (CommandFailure inUse)
            {
                failure = inUse;
            }

            results.Add((original.Address, session.Bus.Find(original.Address)?.Driver, failure));
            if (failure is null)
            {
                session.Store.Forget(original.Address);
            }
        }

        if (Json)
        {
            session.WriteJson("vfio.restore/1", json =>
            {
                json.WriteStartArray("functions");
                foreach ((PciAddress address, string? driver, CommandFailure? failure) in results)
                {
                    json.WriteStartObject();
                    json.WriteString("address", address.ToString());
                    json.WriteString("driver", driver);
                    json.WriteString("failure", failure?.Message);
                    json.WriteEndObject();
                }

                json.WriteEndArray();
            });
        }

        foreach ((PciAddress address, string? driver, CommandFailure? failure) in results)
        {
            if (failure is not null)
            {
                session.Terminal.Remark(failure.Message);
            }
            else
            {
                session.Terminal.Line($"{address}: {driver ?? "no driver"}");
            }
        }

        if (results.Count == 0)
        {
            session.Terminal.Line("nothing to restore");
        }

        return results.Any(static result => result.Failure is not null) ? ExitCode.Incomplete : ExitCode.Ok;
    }

    private ExitCode ForgetAll(Session session)
    {
        List<PciAddress> wanted = [.. session.FunctionsAt(Functions).Select(static function => function.Address)];
        if (wanted.Count == 0 && session.Store.Unfinished().Count > 0)
        {
            session.Store.Commit();
        }

        List<OriginalBinding> forgotten = [.. session.Store.Remembered().Where(original => wanted.Count == 0 || wanted.Contains(original.Address))];
        forgotten.ForEach(original => session.Store.Forget(original.Address));
        if (Json)
        {
            session.WriteJson("vfio.restore/1", json =>
            {
                json.WriteStartArray("functions");
                json.WriteEndArray();
            });
        }

        session.Terminal.Line("forgotten:"
            + $" {(forgotten.Count == 0 ? "nothing" : string.Join(", ", forgotten.Select(static original => original.Address)))}");
        return ExitCode.Ok;
    }
}
