namespace VfioCli;

/// <summary>Ends a command: one sentence of cause, one of remedy, and the exit code.</summary>
#pragma warning disable CA1032, CA1064 // made in this program only, and caught in Program.Run
internal sealed class CommandFailure(ExitCode code, string cause, string remedy = "") : Exception(remedy.Length == 0 ? cause : $"{cause} {remedy}")
#pragma warning restore CA1032, CA1064
{
    /// <summary>The exit code.</summary>
    public ExitCode Code { get; } = code;

    /// <summary>What is wrong, as a sentence.</summary>
    public string Cause { get; } = cause;

    /// <summary>What to do about it, as a sentence; may be empty.</summary>
    public string Remedy { get; } = remedy;

    /// <summary>The error number behind it, or 0.</summary>
    public int Errno { get; init; }

    /// <summary>What shows it: path=value.</summary>
    public IReadOnlyList<string> Evidence { get; init; } = [];
}
