namespace VfioCli.Hosts;

/// <summary>What the command line says about the host.</summary>
/// <param name="Host"><c>auto</c>, <c>kernel</c>, <c>sim</c> or the path of a capture; null when not said.</param>
/// <param name="Topology">The simulated machine: a name or a JSON file; null when not said.</param>
internal sealed record HostChoice(string? Host, string? Topology);
