namespace RfcFlows;

/// <summary>One flow of section 4 of the proposal.</summary>
/// <param name="Number">Its number there, such as <c>4.3</c>.</param>
/// <param name="Title">Its title there.</param>
/// <param name="Run">Does it: every step is narrated, every translation is checked.</param>
public sealed record Flow(string Number, string Title, Action<FlowRun> Run)
{
    /// <summary>Whether it is about a device with PASIDs.</summary>
    public bool NeedsPasids { get; init; }

    /// <summary>All of them, in the order of the proposal.</summary>
    public static IReadOnlyList<Flow> All { get; } =
    [
        new("4.1", "one address space", SimpleSpace.Run),
        new("4.2", "several address spaces, no nesting", SeveralSpaces.Run),
        new("4.3", "software nesting", SoftwareNesting.Run),
        new("4.4", "hardware nesting", HardwareNesting.Run),
        new("4.5", "shared virtual addresses of a guest (vSVA)", SharedVirtualAddresses.Run) { NeedsPasids = true },
        new("4.6", "I/O page faults", PageFaults.Run) { NeedsPasids = true },
    ];

    /// <summary>The flow of a number; null when there is none.</summary>
    public static Flow? Find(string number) => All.FirstOrDefault(flow => flow.Number == number);
}
