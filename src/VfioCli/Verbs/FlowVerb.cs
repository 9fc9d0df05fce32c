using CommandLine;
using CommandLine.Text;
using IommuFd;
using IommuFd.HwSim;
using IommuFd.HwSim.Units;
using IommuFd.Sysfs;
using RfcFlows;
using VfioCli.Output;

namespace VfioCli.Verbs;

/// <summary><c>vfio flow</c>: the flows of the proposal, section 4, on this machine.</summary>
[Verb("flow",
    HelpText = "Run a flow of the RFC v2 /dev/iommu proposal and tell every step, table and address: 4.1 one address space, 4.2 several, 4.3"
        + " software nesting, 4.4 hardware nesting, 4.5 vSVA, 4.6 page faults.")]
internal sealed class FlowVerb : HostVerb
{
    /// <summary>Which flow, and on which devices.</summary>
    [Value(0, MetaName = "NUMBER [BDF BDF]", Required = true,
        HelpText = "The flow's number in the proposal, or all. Then two functions of different IOMMU groups whose DMA engine is known ("
            + DmaProbe.Known + "), for 4.5 and 4.6 one with PASIDs; without them the first that there are.")]
    public IEnumerable<string> Words { get; set; } = [];

    /// <summary>The kernel interface.</summary>
    [Option("interface", MetaValue = "NAME",
        HelpText = "iommufd, container for legacy VFIO, or rfc for the proposal's own kernel. Default: the best there is.")]
    public string? Interface { get; set; }

    /// <summary>Takes functions from their drivers.</summary>
    [Option("bind", HelpText = "Also take the functions from the host's drivers for the time of this command.")]
    public bool Bind { get; set; }

    /// <summary>Examples for the help.</summary>
    [Usage(ApplicationAlias = "vfio")]
    public static IEnumerable<Example> Examples =>
    [
        Example("A child space whose mappings lead to its parent, proved by DMA", new FlowVerb { Words = ["4.3"] }),
        Example("The same over legacy containers", new FlowVerb { Words = ["4.3"], Interface = "container" }),
    ];

    /// <inheritdoc/>
    public override ExitCode Run(Session session)
    {
        string[] words = [.. Words];
        Flow[] flows = words[0] == "all" ? [.. Flow.All] : Flow.Find(words[0]) is { } named ? [named] : throw new CommandFailure(
            ExitCode.Usage, $"there is no flow '{words[0]}'.",
            $"There are {string.Join(", ", Flow.All.Select(static flow => $"{flow.Number} ({flow.Title})"))}, and all.");
        if (Json && flows.Length > 1)
        {
            throw new CommandFailure(ExitCode.Usage, "one JSON document tells one flow.", "Name the flow.");
        }

        try
        {
            FlowMachine machine = Machine(session, words[1..]);
            IReadOnlyList<PciFunction> functions =
                session.FunctionsAt(flows.SelectMany(machine.DevicesOf).Select(static address => address.ToString()));
            using BorrowedDrivers borrowed = BorrowedDrivers.Take(session, functions, Bind);
            bool passed = true;
            foreach (Flow flow in flows)
            {
                passed &= Run(session, machine, flow);
            }

            return passed ? ExitCode.Ok : ExitCode.No;
        }
        catch (NotSupportedException exception)
        {
            throw new CommandFailure(ExitCode.Unsupported, exception.Message,
                "Name other functions, or another machine (--topology intel-scalable has all that the flows need).");
        }
    }

    private bool Run(Session session, FlowMachine machine, Flow flow)
    {
        session.Terminal.Line($"{flow.Number} {flow.Title}");
        string? failure = null;
        using FlowRun run = new(machine, step =>
        {
            session.Terminal.Line($"  {step.Call,-22} {step.Text}");
            foreach (string line in step.Tables)
            {
                session.Terminal.Line($"  {"",-22}   {line}");
            }
        });
        try
        {
            flow.Run(run);
        }
        catch (Exception exception) when (exception is FlowException or TimeoutException)
        {
            failure = exception.Message;
        }

        session.Terminal.Line($"flow {flow.Number} on {Name(run.Kind)}: {failure ?? $"passed, {run.Translations.Count} translations as expected"}");
        if (Json)
        {
            Write(session, machine, flow, run, failure);
        }

        return failure is null;
    }

    private FlowMachine Machine(Session session, string[] devices)
    {
        ContextKind? kind = Interface switch
        {
            null => null,
            "iommufd" => ContextKind.Iommufd,
            "container" => ContextKind.Container,
            "rfc" => ContextKind.Rfc,
            _ => throw new CommandFailure(ExitCode.Usage, $"'{Interface}' is no kernel interface.", "It is iommufd, container or rfc."),
        };
        FlowMachine machine = devices.Length switch
        {
            0 => FlowMachine.Find(session.Iommu, kind),
            1 => FlowMachine.Find(session.Iommu, kind) with { Pasid = session.Function(devices[0]).Address },
            2 => new FlowMachine(session.Iommu, kind, session.Function(devices[0]).Address, session.Function(devices[1]).Address),
            _ => throw new CommandFailure(ExitCode.Usage, $"a flow needs two functions, not {devices.Length}.",
                "Name two of different IOMMU groups, for 4.5 and 4.6 one with PASIDs, or none."),
        };
        return machine with { Walk = session.Host is SimulatedHost simulated ? (device, pasid, iova) => Walk(simulated, device, pasid, iova) : null };
    }

    // The simulator can look into its tables; a kernel shows them to nobody.
    private static IReadOnlyList<string> Walk(SimulatedHost host, PciAddress device, uint? pasid, ulong iova)
    {
        if (host.Device(device.ToString()) is not { Unit: { } unit } silicon)
        {
            return [];
        }

        DmaRequest request = new(silicon.RequesterId, pasid ?? DmaRequest.NoPasid, iova, IommuFd.HwSim.Units.DmaAccess.Read);
        return unit.Translate(request, out DmaTranslation translation)
            ? [$"walk: {unit.GetType().Name}, requester 0x{silicon.RequesterId:x4}: physical 0x{translation.Output:x}, page of"
                + $" 0x{1UL << translation.SizeLg2:x} bytes"]
            : [$"walk: {unit.GetType().Name}, requester 0x{silicon.RequesterId:x4}: no translation"];
    }

    private static string Name(ContextKind? kind) =>
        kind switch { ContextKind.Container => "container", null => "nothing", _ => kind.Value.ToString().ToLowerInvariant() };

    private static void Write(Session session, FlowMachine machine, Flow flow, FlowRun run, string? failure) =>
        session.WriteJson("vfio.flow/1", writer =>
    {
        writer.WriteString("flow", flow.Number);
        writer.WriteString("title", flow.Title);
        writer.WriteString("interface", Name(run.Kind));
        JsonReport.WriteStrings(writer, "devices", machine.DevicesOf(flow).Select(static address => address.ToString()));
        writer.WriteBoolean("passed", failure is null);
        writer.WriteString("failure", failure);
        writer.WriteStartArray("steps");
        foreach (FlowStep step in run.Steps)
        {
            writer.WriteStartObject();
            writer.WriteString("call", step.Call);
            writer.WriteString("text", step.Text);
            JsonReport.WriteStrings(writer, "tables", step.Tables);
            writer.WriteEndObject();
        }

        writer.WriteEndArray();
        writer.WriteStartArray("translations");
        foreach (FlowTranslation translation in run.Translations)
        {
            writer.WriteStartObject();
            writer.WriteString("device", translation.Device);
            writer.WriteNumberOrNull("pasid", translation.Pasid);
            writer.WriteHex("iova", translation.Iova);
            writer.WriteString("data", translation.Data is { } data ? $"0x{data:x}" : null);
            writer.WriteEndObject();
        }

        writer.WriteEndArray();
    });
}
