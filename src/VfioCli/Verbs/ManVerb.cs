using CommandLine;
using VfioCli.CommandLine;
using VfioCli.Output;

namespace VfioCli.Verbs;

/// <summary><c>vfio man</c>.</summary>
[Verb("man", HelpText = "Print the manual page: vfio man | man -l -")]
internal sealed class ManVerb : StandaloneVerb
{
    /// <inheritdoc/>
    public override ExitCode Run(Terminal terminal)
    {
        terminal.Out.Write(ManualPage.Text());
        return ExitCode.Ok;
    }
}

/// <summary><c>vfio completion</c>.</summary>
[Verb("completion",
    HelpText = "Print a completion script: eval \"$(vfio completion bash)\"; it completes verbs, options, and the PCI functions of this machine.")]
internal sealed class CompletionVerb : StandaloneVerb
{
    /// <summary>The shell.</summary>
    [Value(0, MetaName = "bash|zsh|fish", Required = true, HelpText = "The shell.")]
    public string Shell { get; set; } = "";

    /// <inheritdoc/>
    public override ExitCode Run(Terminal terminal)
    {
        terminal.Out.Write(Completion.Script(Shell));
        return ExitCode.Ok;
    }
}
