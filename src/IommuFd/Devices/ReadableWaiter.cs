using IommuFd.Native;

namespace IommuFd;

/// <summary>Waits until records can be read from a queue's descriptor.</summary>
internal sealed class ReadableWaiter(IommuHost host, DescriptorHandle handle, object owner) : DescriptorWaiter(host, handle, owner)
{
    private readonly DescriptorHandle _handle = handle;

    /// <summary>1 when there is something to read (or the queue is in error, which the read will tell), else 0.</summary>
    internal override ulong Take() => _handle.Poll(Libc.POLLIN, 0) != 0 ? 1u : 0u;

    /// <summary>Waits until there is something to read.</summary>
    internal async ValueTask WaitReadableAsync(CancellationToken cancellation) => _ = await WaitAsync(cancellation).ConfigureAwait(false);
}
