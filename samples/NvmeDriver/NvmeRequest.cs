using System.Threading.Tasks.Sources;
using IommuFd;

namespace NvmeDriver;

/// <summary>A transfer under way: one command, or several when it is larger than the controller takes. Pooled by its queue, so a transfer allocates nothing.</summary>
internal sealed class NvmeRequest(NvmeQueue queue) : IValueTaskSource
{
    private ManualResetValueTaskSourceCore<bool> _source = new() { RunContinuationsAsynchronously = true };

    /// <summary>The next one in the pool or in the line of those that wait for room.</summary>
    public NvmeRequest? Next;

    /// <summary>The command without its data.</summary>
    public NvmeCommand Command;

    /// <summary>Where the rest of the data is: the address of the next byte and the bytes that no command covers yet.</summary>
    public ulong Address;

    /// <inheritdoc cref="Address"/>
    public int Left;

    /// <summary>The next block.</summary>
    public ulong Block;

    /// <summary>Commands that the controller has.</summary>
    public int Pending;

    /// <summary>The first error.</summary>
    public Exception? Failure;

    /// <summary>The result of the last command.</summary>
    public uint Result;

    /// <summary>Pieces of memory instead of <see cref="Address"/>.</summary>
    public DmaSegment[]? Segments;

    private volatile bool _done;
    private bool _awaited;

    /// <summary>True when all commands have ended.</summary>
    public bool IsDone => _done;

    /// <summary>Made ready for a new transfer.</summary>
    public void Start(bool awaited)
    {
        _source.Reset();
        (_done, _awaited) = (false, awaited);
        (Failure, Pending, Result, Next, Segments) = (null, 0, 0, null, null);
    }

    /// <summary>The transfer as a task.</summary>
    public ValueTask Task => new(this, _source.Version);

    /// <summary>All commands have ended.</summary>
    public void Finish()
    {
        _done = true;
        if (!_awaited)
            return;
        if (Failure is { } failure)
            _source.SetException(failure);
        else
            _source.SetResult(true);
    }

    void IValueTaskSource.GetResult(short token)
    {
        try
        {
            _ = _source.GetResult(token);
        }
        finally
        {
            queue.Return(this);
        }
    }

    ValueTaskSourceStatus IValueTaskSource.GetStatus(short token) => _source.GetStatus(token);

    void IValueTaskSource.OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
        _source.OnCompleted(continuation, state, token, flags);
}
