using CommandLine;
using CommandLine.Text;
using IommuFd.Native;
using IommuFd.Sysfs;
using VfioCli.Diagnosis;
using VfioCli.Hosts;

namespace VfioCli.Verbs;

/// <summary>A verb that changes drivers.</summary>
internal abstract class DriverVerb : FunctionsVerb
{
    /// <summary>Only says what would be written.</summary>
    [Option("dry-run", HelpText = "Print the exact writes and change nothing.")]
    public bool DryRun { get; set; }

    /// <summary>How long a driver may take.</summary>
    [Option("timeout", Default = 10, MetaValue = "SECONDS", HelpText = "How long a driver may take to let go of a function.")]
    public int Timeout { get; set; } = 10;

    /// <summary>Prints the plans, or carries them out and prints where the functions are.</summary>
    /// <exception cref="CommandFailure">It failed; everything was put back as far as possible.</exception>
    protected ExitCode Carry(Session session, string schema, Func<DriverBinder, IReadOnlyList<DriverPlan>> plan)
    {
        if (Timeout <= 0)
        {
            throw new CommandFailure(ExitCode.Usage, $"--timeout {Timeout} is not a time.", "Give it in seconds, at least 1.");
        }

        SysfsWriter writer = new(session.Host, TimeSpan.FromSeconds(Timeout), session.Terminal.Remark);
        DriverBinder binder = new(session.Sysfs, session.Store, writer.Write);
        IReadOnlyList<DriverPlan> plans = plan(binder);
        if (!DryRun && binder.Apply(plans) is { } failure)
        {
            throw BindText.Describe(session, failure, writer.TimeoutText);
        }

        if (Json)
        {
            session.WriteJson(schema, json =>
            {
                json.WriteBoolean("dryRun", DryRun);
                json.WriteStartArray("functions");
                foreach (DriverPlan each in plans)
                {
                    PciFunction? now = session.Bus.Find(each.Address);
                    json.WriteStartObject();
                    json.WriteString("address", each.Address.ToString());
                    json.WriteString("driverBefore", each.Before.Driver);
                    json.WriteString("driver", DryRun ? each.Driver : now?.Driver);
                    json.WriteString("node", DryRun ? null : now?.DeviceNode);
                    json.WriteStartArray("writes");
                    foreach (SysfsWrite write in each.Writes)
                    {
                        json.WriteStartObject();
                        json.WriteString("path", write.Path);
                        json.WriteString("text", write.Text);
                        json.WriteEndObject();
                    }

                    json.WriteEndArray();
                    json.WriteEndObject();
                }

                json.WriteEndArray();
            });
            return ExitCode.Ok;
        }

        foreach (DriverPlan each in plans)
        {
            if (DryRun)
            {
                foreach (SysfsWrite write in each.Writes)
                {
                    session.Terminal.Line(write.ToString());
                }

                continue;
            }

            PciFunction? now = session.Bus.Find(each.Address);
            string driver = now?.Driver ?? "no driver", node = now?.DeviceNode is { } path ? ", " + path : "";
            session.Terminal.Line(each.Writes.Count == 0
                ? $"{each.Address}: already on {driver}{node}"
                : $"{each.Address}: {each.Before.Driver ?? "no driver"} -> {driver}{node}");
        }

        return ExitCode.Ok;
    }
}

/// <summary><c>vfio bind</c>.</summary>
[Verb("bind", HelpText = "Give functions to vfio-pci, all or none, and remember the drivers they had.")]
internal sealed class BindVerb : DriverVerb
{
    /// <summary>The driver.</summary>
    [Option("driver", MetaValue = "NAME",
        HelpText = "The driver to bind, by driver_override. Without it the device's own VFIO driver (mlx5_vfio_pci, ...) where one is loaded,"
            + " else vfio-pci.")]
    public string? Driver { get; set; }

    /// <summary>Takes the whole group.</summary>
    [Option("group",
        HelpText = "Also bind every other endpoint of each function's IOMMU group. Bridges stay where they are: they do not block a group.")]
    public bool Group { get; set; }

    /// <summary>Overrides refusals.</summary>
    [Option("force",
        HelpText = "Bind although the host loses a mounted file system, swap, a route or its console, or although a driver's nodes are open.")]
    public bool Force { get; set; }

    /// <summary>Who gets the nodes.</summary>
    [Option("owner", MetaValue = "USER[:GROUP]", HelpText = "Give the nodes of the bound functions to this user.")]
    public string? Owner { get; set; }

    /// <summary>Examples for the help.</summary>
    [Usage(ApplicationAlias = "vfio")]
    public static IEnumerable<Example> Examples =>
    [
        Example("What would be written", new BindVerb { Functions = ["0000:01:00.0"], DryRun = true }),
        Example("A function and everything that shares its group", new BindVerb { Functions = ["0000:02:01.0"], Group = true }),
    ];

    /// <inheritdoc/>
    public override ExitCode Run(Session session)
    {
        List<PciFunction> functions = [.. session.FunctionsAt(Functions)];
        if (Group)
        {
            foreach (IommuGroup group in functions.Select(static function => function.Group).OfType<int>().Distinct().Select(session.Bus.Group)
                .OfType<IommuGroup>().ToList())
            {
                functions.AddRange(group.Members.Where(member => !member.IsBridge && functions.All(function => function.Address != member.Address)));
            }
        }

        if (Owner is not null && !DryRun && session.Host.Kind != HostKind.Kernel)
        {
            throw new CommandFailure(
                ExitCode.Unsupported, $"the nodes of {session.Host.Description} have no other users.",
                "`vfio sim run -- vfio bind --host kernel --owner USER BDF` shows it with programs; --dry-run prints the command.");
        }

        NodeOwner? owner = Owner is null ? null : NodeOwner.Parse(session, Owner);
        Dictionary<PciAddress, string> drivers = functions.ToDictionary(static function => function.Address,
            function => Driver ?? Choose(session, function));
        foreach (PciFunction function in functions)
        {
            BindRules.Check(session, function, drivers[function.Address]);
        }

        if (!Force && !DryRun)
        {
            TakeRules.Check(session, functions);
        }

        ExitCode code = Carry(session, "vfio.bind/1",
            binder => [.. functions.SelectMany(function => binder.PlanBind([function.Address], drivers[function.Address]))]);
        if (owner is not null)
        {
            GiveNodes(session, functions, owner);
        }

        foreach (IommuGroup group in functions.Select(static function => function.Group).OfType<int>().Distinct()
            .Select(session.Bus.Group).OfType<IommuGroup>())
        {
            if (group.Blocking.FirstOrDefault(member => functions.All(function => function.Address != member.Address)) is { } blocking)
            {
                session.Terminal.Remark($"group {group.Id} still has {blocking.Address} on {blocking.Driver}, so the group cannot be attached; `vfio"
                    + $" bind --group {functions[0].Address}` takes it too.");
            }
        }

        return code;
    }

    private static string Choose(Session session, PciFunction function)
    {
        if (DriverClaim.IsVfio(function.Driver))
        {
            return function.Driver!; // already given away: by which driver was decided then
        }

        if (VariantDriver.Find(session.Sysfs, function) is not { } variant)
        {
            return DriverClaim.VfioPci;
        }

        if (session.Sysfs.Exists($"{PciBus.Drivers}/{variant}"))
        {
            return variant;
        }

        session.Terminal.Remark($"{function.Address} has a VFIO driver of its own, {variant}, which is not loaded; `modprobe {variant}` adds what"
            + " vfio-pci cannot do, such as migration.");
        return DriverClaim.VfioPci;
    }

    private void GiveNodes(Session session, List<PciFunction> functions, NodeOwner owner)
    {
        foreach (PciFunction function in functions)
        {
            PciFunction now = session.Function(function.Address.ToString());
            if (DryRun)
            {
                session.Terminal.Line(owner.Command(now.DeviceNode ?? "/dev/vfio/devices/vfioN"));
                continue;
            }

            int result = owner.Apply(session, now);
            if (result < 0)
            {
                throw new CommandFailure(ExitCode.Refused,
                    $"the nodes of {function.Address} cannot be given to {owner.Text} ({Errno.Name(-result)}).",
                    "The functions stay bound; `vfio unbind` gives them back.") { Errno = -result };
            }
        }
    }
}

/// <summary><c>vfio unbind</c>.</summary>
[Verb("unbind", HelpText = "Give functions back to the drivers they had, and clear their driver_override.")]
internal sealed class UnbindVerb : DriverVerb
{
    /// <summary>Unbinds what is open.</summary>
    [Option("force", HelpText = "Also when a program has a function open: the kernel asks it to give the device back, and waits for it.")]
    public bool Force { get; set; }

    /// <inheritdoc/>
    public override ExitCode Run(Session session)
    {
        IReadOnlyList<PciFunction> functions = session.FunctionsAt(Functions);
        if (!Force && !DryRun)
        {
            TakeRules.CheckHolders(session, functions);
        }

        return Carry(session, "vfio.unbind/1", binder => binder.PlanReturn(functions.Select(static function => function.Address)));
    }
}
