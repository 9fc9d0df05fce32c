namespace IommuFd.Native;

/// <summary>
/// A host whose n-th call fails. The failing call is not passed on, except close, which Linux completes whatever it answers. Rules count on their
/// own; the first that applies decides.
/// </summary>
public sealed class FaultInjectingHost : IHost
{
    private readonly IHost _inner;
    private readonly FaultRule[] _rules;
    private readonly int[] _seen;
    private long _calls;
    private int _injected;

    /// <summary>Puts rules in front of a host.</summary>
    /// <param name="inner">The host; disposed with this one.</param>
    /// <param name="rules">The rules.</param>
    public FaultInjectingHost(IHost inner, params FaultRule[] rules)
    {
        ArgumentNullException.ThrowIfNull(inner);
        ArgumentNullException.ThrowIfNull(rules);
        _inner = inner;
        _rules = rules;
        _seen = new int[rules.Length];
        Kernel = new FaultInjectingKernel(inner.Kernel, this);
        Sysfs = new FaultInjectingSysfs(inner.Sysfs, this);
    }

    /// <summary>Calls made so far: a run without rules says how many places there are to fail.</summary>
    public long Calls => Interlocked.Read(ref _calls);

    /// <summary>Calls that a rule made fail.</summary>
    public int Injected => Volatile.Read(ref _injected);

    /// <inheritdoc/>
    public HostKind Kind => _inner.Kind;

    /// <inheritdoc/>
    public string Description => _inner.Description;

    /// <inheritdoc/>
    public IKernel Kernel { get; }

    /// <inheritdoc/>
    public ISysfs Sysfs { get; }

    /// <inheritdoc/>
    public void Dispose() => _inner.Dispose();

    /// <summary>Counts a call; -errno when it is to fail, else 0.</summary>
    internal int Decide(SystemCall call, uint request = 0)
    {
        _ = Interlocked.Increment(ref _calls);
        int decision = 0;
        for (int i = 0; i < _rules.Length; i++)
        {
            FaultRule rule = _rules[i];
            if ((rule.Call is { } kind && kind != call) || (rule.Request is { } wanted && wanted != request))
            {
                continue;
            }

            int seen = Interlocked.Increment(ref _seen[i]);
            if (decision == 0 && (seen == rule.Nth || (rule.AndAfter && seen > rule.Nth)))
            {
                decision = -rule.Errno;
                _ = Interlocked.Increment(ref _injected);
            }
        }

        return decision;
    }
}
