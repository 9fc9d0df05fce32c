using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using IommuFd.Native.Uapi;

namespace IommuFd;

/// <summary>An event of a virtual IOMMU.</summary>
/// <param name="Sequence">Its number; a gap counts lost events.</param>
/// <param name="IsLost">Events were lost here; <paramref name="Data"/> is empty.</param>
/// <param name="Data">The record: iommu_vevent_arm_smmuv3 or iommu_vevent_tegra241_cmdqv.</param>
public sealed record VirtualEvent(uint Sequence, bool IsLost, ReadOnlyMemory<byte> Data)
{
    /// <summary>Reads <see cref="Data"/> as its struct.</summary>
    public T As<T>()
        where T : unmanaged => MemoryMarshal.Read<T>(Data.Span);
}

/// <content>Virtual events as a stream.</content>
public sealed partial class VirtualEventQueue
{
    private readonly Lock _eventGate = new();
    private readonly Queue<VirtualEvent> _ready = new();

    /// <summary>The events, as they come.</summary>
    /// <param name="cancellation">Ends the stream.</param>
    /// <exception cref="ObjectDisposedException">The queue was disposed.</exception>
    public async IAsyncEnumerable<VirtualEvent> ReadAllAsync([EnumeratorCancellation] CancellationToken cancellation = default)
    {
        while (true)
        {
            while (TryReadEvent(out VirtualEvent? next))
            {
                yield return next;
            }

            await WaitAsync(cancellation).ConfigureAwait(false);
        }
    }

    /// <summary>Waits for the next event in the calling thread.</summary>
    /// <param name="timeout">How long; <see cref="Timeout.InfiniteTimeSpan"/> for ever.</param>
    /// <returns>Null after the timeout.</returns>
    /// <exception cref="ObjectDisposedException">The queue was disposed.</exception>
    public VirtualEvent? ReadEvent(TimeSpan timeout)
    {
        using CancellationTokenSource limit = new(timeout);
        while (true)
        {
            if (TryReadEvent(out VirtualEvent? next))
            {
                return next;
            }

            try
            {
                WaitAsync(limit.Token).AsTask().GetAwaiter().GetResult();
            }
            catch (OperationCanceledException)
            {
                return null;
            }
        }
    }

    /// <summary>The next event that is there now.</summary>
    public bool TryReadEvent([NotNullWhen(true)] out VirtualEvent? next)
    {
        Span<byte> buffer = stackalloc byte[1024];
        lock (_eventGate)
        {
            if (_ready.Count == 0)
            {
                ReadOnlySpan<byte> bytes = buffer[..Read(buffer)];
                while (TryParse(bytes, out iommufd_vevent_header header, out ReadOnlySpan<byte> data, out bytes))
                {
                    bool lost = (header.flags & (uint)iommu_veventq_flag.IOMMU_VEVENTQ_FLAG_LOST_EVENTS) != 0;
                    _ready.Enqueue(new VirtualEvent(header.sequence, lost, data.ToArray()));
                }
            }

            return _ready.TryDequeue(out next);
        }
    }
}
