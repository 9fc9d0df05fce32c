using CommandLine;
using CommandLine.Text;

namespace VfioCli.Verbs;

/// <summary>One thing that the command does: its options, as properties with attributes, and <see cref="Run"/>.</summary>
internal abstract class Verb
{
    /// <summary>Prints a JSON document instead of text.</summary>
    [Option("json", HelpText = "Print one JSON document instead of text; docs/schema holds its schema.")]
    public bool Json { get; set; }

    /// <summary>An example for the help.</summary>
    protected static Example Example(string what, Verb verb) => new(what, [new UnParserSettings { SkipDefault = true }], verb);

    /// <summary>Does it.</summary>
    public abstract ExitCode Run(Session session);
}

/// <summary>A verb that looks at, or works on, a host.</summary>
internal abstract class HostVerb : Verb
{
    /// <summary>Which host.</summary>
    [Option("host", MetaValue = "WHICH",
        HelpText = "auto (default: this machine when /dev/iommu is there, else the simulator), kernel, sim, or the path of a capture. VFIO_HOST"
            + " decides when this is not given.")]
    public string? Host { get; set; }

    /// <summary>Which simulated machine.</summary>
    [Option("topology", MetaValue = "FILE|NAME",
        HelpText = "The simulated machine. It lives as long as this command: what one command binds, the next does not find.")]
    public string? Topology { get; set; }

    /// <summary>Where every call is written to.</summary>
    [Option("trace", MetaValue = "FILE|-", HelpText = "Write every system call and sysfs access to FILE, or to stderr for -.")]
    public string? Trace { get; set; }

    /// <summary>Whether <c>auto</c> means this machine even without /dev/iommu: verbs that find out why it is not there.</summary>
    internal virtual bool WantsThisMachine => false;
}

/// <summary>A verb for one or more functions.</summary>
internal abstract class FunctionsVerb : HostVerb
{
    /// <summary>The functions.</summary>
    [Value(0, MetaName = "BDF", Required = true, HelpText = "PCI functions, as 0000:00:04.0 or 00:04.0.")]
    public IEnumerable<string> Functions { get; set; } = [];
}
