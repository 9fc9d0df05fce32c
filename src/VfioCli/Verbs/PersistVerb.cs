using CommandLine;
using CommandLine.Text;
using IommuFd.Native;
using IommuFd.Sysfs;
using VfioCli.Diagnosis;
using VfioCli.Hosts;
using VfioCli.Persistence;

namespace VfioCli.Verbs;

/// <summary>A verb about what shall be bound after every boot.</summary>
internal abstract class PersistenceVerb : HostVerb
{
    /// <summary>Where the files are.</summary>
    [Option("root", Default = "/", MetaValue = "DIR", HelpText = "Write and read below this directory instead of /: for images, and to look first.")]
    public string Root { get; set; } = "/";

    /// <summary>The definitions.</summary>
    protected PersistentStore Store => new(Root);

    /// <summary>Prints what is wanted and how it is.</summary>
    protected ExitCode Report(Session session, IReadOnlyList<Drift> drifts)
    {
        if (Json)
        {
            session.WriteJson("vfio.drift/1", writer =>
            {
                writer.WriteStartArray("functions");
                foreach (Drift drift in drifts)
                {
                    writer.WriteStartObject();
                    writer.WriteString("address", drift.Wanted.Address.ToString());
                    writer.WriteString("driver", drift.Wanted.Driver);
                    writer.WriteString("drift", drift.Kind.ToString());
                    writer.WriteString("foundAt", drift.Found?.Address.ToString());
                    writer.WriteString("text", drift.Text);
                    writer.WriteEndObject();
                }

                writer.WriteEndArray();
            });
        }

        foreach (Drift drift in drifts)
        {
            session.Terminal.Line(drift.Text);
        }

        if (drifts.Count == 0)
        {
            session.Terminal.Line("nothing is persistent");
        }

        return drifts.All(static drift => drift.Kind == DriftKind.None) ? ExitCode.Ok : ExitCode.No;
    }
}

/// <summary><c>vfio persist</c>.</summary>
[Verb("persist",
    HelpText = "Bind functions after every boot: definitions by address and identity, a udev rule, a systemd unit. Without functions: show them.")]
internal sealed class PersistVerb : PersistenceVerb
{
    /// <summary>The functions.</summary>
    [Value(0, MetaName = "BDF", HelpText = "PCI functions, as 0000:00:04.0 or 00:04.0.")]
    public IEnumerable<string> Functions { get; set; } = [];

    /// <summary>The driver.</summary>
    [Option("driver", Default = DriverClaim.VfioPci, MetaValue = "NAME", HelpText = "The driver that they shall have.")]
    public string Driver { get; set; } = DriverClaim.VfioPci;

    /// <summary>Binds now.</summary>
    [Option("apply",
        HelpText = "Bind what is defined and not bound; what sits at another address or was replaced is reported and left alone. The unit runs"
            + " this at boot.")]
    public bool Apply { get; set; }

    /// <summary>Examples for the help.</summary>
    [Usage(ApplicationAlias = "vfio")]
    public static IEnumerable<Example> Examples => [Example("From the next boot on", new PersistVerb { Functions = ["0000:05:00.0"] }),
        Example("At boot, by the unit", new PersistVerb { Apply = true })];

    /// <inheritdoc/>
    internal override bool WantsThisMachine => true;

    /// <inheritdoc/>
    public override ExitCode Run(Session session)
    {
        PersistentStore store = Store;
        IReadOnlyList<PciFunction> functions = session.FunctionsAt(Functions);
        if (functions.Count > 0)
        {
            if (session.Host.Kind != HostKind.Kernel && Root == "/")
            {
                throw new CommandFailure(ExitCode.Usage, $"{session.Host.Description} is not this machine, so nothing is written into its /etc.",
                    "Give --root DIR.");
            }

            foreach (PciFunction function in functions)
            {
                if (function.IsBridge)
                {
                    throw new CommandFailure(ExitCode.Unsupported, $"{function.Address} is a bridge, and VFIO takes no bridges.",
                        "Leave it on its driver.");
                }
            }

            store.Add(functions.Select(function => PersistentDevice.Of(session.Sysfs, function, Driver)));
            foreach (PciFunction function in functions)
            {
                session.Terminal.Line($"{function.Address}: on {Driver} after every boot"
                    + $" ({Path.Combine(store.Definitions, function.Address.ToString())})");
            }

            session.Terminal.Remark(PersistentStore.InitramfsHint);
            if (!Apply)
            {
                if (Json)
                {
                    _ = Report(session, Drift.Find(session, store.Read()));
                }

                return ExitCode.Ok;
            }
        }

        IReadOnlyList<Drift> drifts = Drift.Find(session, store.Read());
        if (Apply)
        {
            Bind(session, drifts);
            drifts = Drift.Find(session, store.Read());
        }

        return Report(session, drifts);
    }

    private static void Bind(Session session, IReadOnlyList<Drift> drifts)
    {
        SysfsWriter writer = new(session.Host, TimeSpan.FromSeconds(30));
        DriverBinder binder = new(session.Sysfs, session.Store, writer.Write);
        foreach (Drift drift in drifts.Where(static drift => drift.Kind == DriftKind.Driver))
        {
            // One by one: a function that fails at boot must not take the others with it. Vital uses are refused as ever.
            try
            {
                BindRules.Check(session, drift.Found!, drift.Wanted.Driver);
                TakeRules.Check(session, [drift.Found!]);
                if (binder.Apply(binder.PlanBind([drift.Wanted.Address], drift.Wanted.Driver)) is { } failure)
                {
                    throw BindText.Describe(session, failure, writer.TimeoutText);
                }
            }
            catch (CommandFailure failure)
            {
                session.Terminal.Remark(failure.Message);
            }
        }
    }
}

/// <summary><c>vfio forget</c>.</summary>
[Verb("forget", HelpText = "Bind functions no longer at boot; what is bound now stays bound.")]
internal sealed class ForgetVerb : PersistenceVerb
{
    /// <summary>The functions.</summary>
    [Value(0, MetaName = "BDF", Required = true, HelpText = "Addresses as `vfio persist` shows them; the device need not be there.")]
    public IEnumerable<string> Functions { get; set; } = [];

    /// <inheritdoc/>
    internal override bool WantsThisMachine => true;

    /// <inheritdoc/>
    public override ExitCode Run(Session session)
    {
        PersistentStore store = Store;
        List<PersistentDevice> found = [];
        foreach (string text in Functions)
        {
            found.Add(PciAddress.TryParse(text, out PciAddress address)
                ? store.Read().FirstOrDefault(device => device.Address == address) ?? throw new CommandFailure(ExitCode.NotFound,
                    $"{address} is not persistent.", "`vfio persist` shows what is. Nothing was changed.")
                : throw new CommandFailure(ExitCode.Usage, $"'{text}' is not a PCI address.", "Write it as 0000:00:04.0 or 00:04.0."));
        }

        foreach (PersistentDevice device in found)
        {
            store.Remove(device);
            session.Terminal.Line($"{device.Address}: forgotten");
        }

        return Json ? Report(session, Drift.Find(session, store.Read())) : ExitCode.Ok;
    }
}

/// <summary><c>vfio drift</c>.</summary>
[Verb("drift",
    HelpText = "Compare what is persistent with what is: moved, replaced, gone, or on another driver. Exit status 1 when anything differs.")]
internal sealed class DriftVerb : PersistenceVerb
{
    /// <inheritdoc/>
    internal override bool WantsThisMachine => true;

    /// <inheritdoc/>
    public override ExitCode Run(Session session) => Report(session, Drift.Find(session, Store.Read()));
}
