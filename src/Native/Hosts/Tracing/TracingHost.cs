namespace IommuFd.Native;

/// <summary>
/// A host that tells what is asked of it: one line a call in the manner of strace(1), with the fields of every ioctl's struct by name, and a record
/// of one JSON object a line (number, microseconds, thread, call, in, out, result). Not seen: accesses to mapped registers and memory, which are no
/// calls.
/// </summary>
public sealed class TracingHost : IHost
{
    private readonly IHost _inner;
    private readonly Tracer _tracer;
    private readonly TracingKernel _kernel;

    /// <summary>Puts a trace in front of a host.</summary>
    /// <param name="inner">The host; disposed with this one.</param>
    /// <param name="text">Gets the lines; null for none. Not closed.</param>
    /// <param name="record">Gets the JSON lines; null for none. Not closed.</param>
    public TracingHost(IHost inner, TextWriter? text, Stream? record = null)
    {
        ArgumentNullException.ThrowIfNull(inner);
        _inner = inner;
        _tracer = new Tracer(text, record);
        _kernel = new TracingKernel(inner.Kernel, _tracer);
        Sysfs = new TracingSysfs(inner.Sysfs, _tracer);
    }

    /// <inheritdoc/>
    public HostKind Kind => _inner.Kind;

    /// <inheritdoc/>
    public string Description => _inner.Description;

    /// <inheritdoc/>
    public IKernel Kernel => _kernel;

    /// <inheritdoc/>
    public ISysfs Sysfs { get; }

    /// <inheritdoc/>
    public void Dispose()
    {
        _inner.Dispose();
        _kernel.Dispose();
        _tracer.Dispose();
    }
}
