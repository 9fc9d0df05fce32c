using IommuFd;
using IommuFd.Native;
using IommuFd.Sysfs;
using RfcFlows;

// rfc-flows [4.1|...|all] [iommufd|container|rfc]: runs a flow of the proposal. VFIO_HOST=sim|kernel chooses the world; `vfio flow` is the
// comfortable way.
try
{
    string which = args.Length > 0 ? args[0] : "all";
    ContextKind? kind = args.Length > 1 ? Enum.Parse<ContextKind>(args[1], ignoreCase: true) : null;
    Flow[] flows = which == "all" ? [.. Flow.All]
        : [Flow.Find(which) ?? throw new ArgumentException($"There is no flow {which}; there are "
        + $"{string.Join(", ", Flow.All.Select(static flow => flow.Number))}.")];
    using IommuHost host = IommuHost.Open();
    Console.Error.WriteLine($"{host.Description}: {host.Reason}");
    FlowMachine machine = FlowMachine.Find(host, kind);
    if (host.Kind == HostKind.Simulator)
    {
        // A simulated machine is born with the host's drivers on its devices; on a real one 'vfio bind' has been run before.
        DriverBinder binder = new(host.Sysfs, new MemoryBindingStore());
        _ = binder.Apply(binder.PlanBind(flows.SelectMany(machine.DevicesOf).Distinct(), DriverClaim.VfioPci));
    }

    foreach (Flow flow in flows)
    {
        Console.WriteLine($"{flow.Number} {flow.Title}");
        using FlowRun run = new(machine, static step => Console.WriteLine($"  {step.Call,-22} {step.Text}"));
        flow.Run(run);
    }

    return 0;
}
catch (Exception failure) when (failure is IommuFdException or FlowException or ArgumentException or NotSupportedException or TimeoutException)
{
    Console.Error.WriteLine(failure.Message);
    return 1;
}
