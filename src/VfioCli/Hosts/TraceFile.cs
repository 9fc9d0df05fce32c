using IommuFd;
using IommuFd.Native;

namespace VfioCli.Hosts;

/// <summary>Where <c>--trace</c> writes: stderr for <c>-</c>, JSON lines for a name that ends in <c>.jsonl</c>, else text.</summary>
internal sealed class TraceFile : IDisposable
{
    private readonly StreamWriter? _text;
    private readonly FileStream? _record;
    private readonly TracingHost _host;

    private TraceFile(IommuHost host, string name, TextWriter error)
    {
        try
        {
            if (name.EndsWith(".jsonl", StringComparison.Ordinal))
            {
                _record = new FileStream(name, FileMode.Create, FileAccess.Write);
            }
            else if (name != "-")
            {
                _text = new StreamWriter(name);
            }
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new CommandFailure(ExitCode.Usage, $"the trace cannot be written to {name}: {exception.Message.TrimEnd('.')}.",
                "Name a file in a directory that this user may write to, or - for stderr.");
        }

        _host = new TracingHost(host.Host, _record is not null ? null : _text ?? error, _record);
    }

    /// <summary>Puts the trace in front of a host; what is returned second must be disposed last.</summary>
    public static (IommuHost Host, IDisposable? Trace) Over(IommuHost host, string? name, TextWriter error)
    {
        if (name is null)
        {
            return (host, null);
        }

        TraceFile trace = new(host, name, error);
        return (IommuHost.Over(trace._host, host.Reason, leaveOpen: false), trace);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _text?.Dispose();
        _record?.Dispose();
    }
}
