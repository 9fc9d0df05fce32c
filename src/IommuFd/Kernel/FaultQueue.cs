using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd;

/// <summary>
/// The page requests of devices, as the kernel gives them: records are read, responses written. <see cref="PageRequestStream.ReadAllAsync"/> is the
/// comfortable way.
/// </summary>
public sealed unsafe partial class FaultQueue : PageRequestStream
{
    private readonly FaultQueueHandle _handle;
    private readonly ReadableWaiter _waiter;

    internal FaultQueue(IommuContext context, uint id, FaultQueueHandle handle)
        : base(context)
    {
        Context = context;
        Id = id;
        _handle = handle;
        _waiter = new ReadableWaiter(context.Host, handle, this);
    }

    /// <summary>The object id, as table allocation takes it.</summary>
    public uint Id { get; }

    /// <summary>The context it belongs to.</summary>
    public IommuContext Context { get; }

    /// <summary>Reads records that are there, without waiting. Allocates nothing.</summary>
    /// <returns>How many were read; 0 when none are there.</returns>
    /// <exception cref="IommuFdException">The kernel refused.</exception>
    public int Read(Span<iommu_hwpt_pgfault> records)
    {
        nint result;
        fixed (iommu_hwpt_pgfault* pointer = records)
        {
            // SAFETY: the records are pinned for the call and as many as stated.
            result = _handle.Read((nint)pointer, (nuint)(records.Length * sizeof(iommu_hwpt_pgfault)));
        }

        return result >= 0 ? (int)result / sizeof(iommu_hwpt_pgfault)
            : result == -Errno.EAGAIN ? 0
            : throw Failure.Of("read page requests", (int)result);
    }

    /// <summary>Writes responses. Allocates nothing.</summary>
    /// <returns>How many were accepted; fewer when one names no waiting group.</returns>
    /// <exception cref="IommuFdException">EINVAL the first response names no waiting group or has an unknown code.</exception>
    public int Respond(params ReadOnlySpan<iommu_hwpt_page_response> responses)
    {
        nint result;
        fixed (iommu_hwpt_page_response* pointer = responses)
        {
            // SAFETY: the responses are pinned for the call and as many as stated.
            result = _handle.Write((nint)pointer, (nuint)(responses.Length * sizeof(iommu_hwpt_page_response)));
        }

        return result >= 0 ? (int)result / sizeof(iommu_hwpt_page_response) : throw Failure.Of("write page responses", (int)result);
    }

    /// <summary>Writes one response; 0 or -errno, also when the queue is gone.</summary>
    internal int TryRespond(iommu_hwpt_page_response response)
    {
        // SAFETY: the response is on the stack for the length of the call.
        nint result = _handle.Write((nint)(&response), (nuint)sizeof(iommu_hwpt_page_response));
        return result >= 0 ? 0 : (int)result;
    }

    /// <inheritdoc/>
    public override ValueTask WaitAsync(CancellationToken cancellation = default) => _waiter.WaitReadableAsync(cancellation);

    private protected override void Disposing() => _waiter.Dispose();

    private protected override void Free() => _ = Context.Destroy(Id);
}
