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
[Verb("flow", HelpText = "Run a flow of the RFC v2 /dev/iommu proposal and tell every step, table and address: 4.1 one address space, 4.2 several, 4.3 software nesting.")]
internal sealed class FlowVerb : HostVerb
{
    /// <summary>Which flow, and on which devices.</summary>
    [Value(0, MetaName = "NUMBER BDF BDF", Required = true, HelpText = "The flow's number in the proposal, or all. Then two functions of different IOMMU groups whose DMA engine is known (" + DmaProbe.Known + "); without them the first two that there are.")]
    public IEnumerable<string> Words { get; set; } = [];

    /// <summary>The kernel interface.</summary>
    [Option("interface", MetaValue = "NAME", HelpText = "iommufd, or container for legacy VFIO. Default: the best there is.")]
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
            ExitCode.Usage, $"there is no flow '{words[0]}'.", $"There are {string.Join(", ", Flow.All.Select(static flow => $"{flow.Number} ({flow.Title})"))}, and all.");
        if (Json && flows.Length > 1)
        {
            throw new CommandFailure(ExitCode.Usage, "one JSON document tells one flow.", "Name the flow.");
        }

        FlowMachine machine = Machine(session, words[1..]);
        IReadOnlyList<PciFunction> functions = session.FunctionsAt([machine.Device1.ToString(), machine.Device2.ToString()]);
        using BorrowedDrivers borrowed = BorrowedDrivers.Take(session, functions, Bind);
        bool passed = true;
        foreach (Flow flow in flows)
        {
            passed &= Run(session, machine, flow);
        }

        return passed ? ExitCode.Ok : ExitCode.No;
    }

    private bool Run(Session session, FlowMachine machine, Flow flow)
    {
        session.Terminal.Line($"{flow.Number} {flow.Title}");
        string? failure = null;
        using FlowRun run = new(machine, step =>
        {
            session.Terminal.Line($"  {step.Call,-20} {step.Text}");
            foreach (string line in step.Tables)
            {
                session.Terminal.Line($"  {"",-20}   {line}");
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
        catch (NotSupportedException exception)
        {
            throw new CommandFailure(ExitCode.Unsupported, exception.Message);
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
            _ => throw new CommandFailure(ExitCode.Usage, $"'{Interface}' is no kernel interface.", "It is iommufd or container."),
        };
        try
        {
            FlowMachine machine = devices.Length switch
            {
                0 => FlowMachine.Find(session.Iommu, kind),
                2 => new FlowMachine(session.Iommu, kind, session.Function(devices[0]).Address, session.Function(devices[1]).Address),
                _ => throw new CommandFailure(ExitCode.Usage, $"a flow needs two functions, not {devices.Length}.", "Name two of different IOMMU groups, or none."),
            };
            return machine with { Walk = session.Host is SimulatedHost simulated ? (device, pasid, iova) => Walk(simulated, device, pasid, iova) : null };
        }
        catch (InvalidOperationException exception)
        {
            throw new CommandFailure(ExitCode.Unsupported, exception.Message, "Name two functions, or use the simulator (--host sim).");
        }
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
            ? [$"walk: {unit.GetType().Name}, requester 0x{silicon.RequesterId:x4}: physical 0x{translation.Output:x}, page of 0x{1UL << translation.SizeLg2:x} bytes"]
            : [$"walk: {unit.GetType().Name}, requester 0x{silicon.RequesterId:x4}: no translation"];
    }

    private static string Name(ContextKind? kind) => kind switch { ContextKind.Container => "container", null => "nothing", _ => kind.Value.ToString().ToLowerInvariant() };

    private static void Write(Session session, FlowMachine machine, Flow flow, FlowRun run, string? failure) => session.WriteJson("vfio.flow/1", writer =>
    {
        writer.WriteString("flow", flow.Number);
        writer.WriteString("title", flow.Title);
        writer.WriteString("interface", Name(run.Kind));
        JsonReport.WriteStrings(writer, "devices", [machine.Device1.ToString(), machine.Device2.ToString()]);
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
