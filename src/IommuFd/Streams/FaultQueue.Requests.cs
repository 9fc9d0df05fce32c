using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using IommuFd.Native.Uapi;

namespace IommuFd;

/// <content>Page requests as a stream.</content>
public sealed partial class FaultQueue
{
    private readonly Lock _requestGate = new();
    private readonly Queue<PageRequest> _ready = new();
    private readonly Dictionary<uint, List<FaultingPage>> _open = []; // by the kernel's cookie: groups whose last page has not come yet

    /// <summary>The page requests of devices, as they come. Every one has to be answered; see <see cref="PageRequest"/>.</summary>
    /// <param name="cancellation">Ends the stream.</param>
    /// <exception cref="ObjectDisposedException">The queue was disposed.</exception>
    public async IAsyncEnumerable<PageRequest> ReadAllAsync([EnumeratorCancellation] CancellationToken cancellation = default)
    {
        while (true)
        {
            while (TryReadRequest(out PageRequest? request))
            {
                yield return request;
            }

            await WaitAsync(cancellation).ConfigureAwait(false);
        }
    }

    /// <summary>Waits for the next page request in the calling thread.</summary>
    /// <param name="timeout">How long; <see cref="Timeout.InfiniteTimeSpan"/> for ever.</param>
    /// <returns>Null after the timeout.</returns>
    /// <exception cref="ObjectDisposedException">The queue was disposed.</exception>
    public PageRequest? ReadRequest(TimeSpan timeout)
    {
        using CancellationTokenSource limit = new(timeout);
        while (true)
        {
            if (TryReadRequest(out PageRequest? request))
            {
                return request;
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

    /// <summary>The next page request that is there now.</summary>
    public bool TryReadRequest([NotNullWhen(true)] out PageRequest? request)
    {
        Span<iommu_hwpt_pgfault> records = stackalloc iommu_hwpt_pgfault[16];
        lock (_requestGate)
        {
            if (_ready.Count == 0)
            {
                int count = Read(records);
                foreach (ref readonly iommu_hwpt_pgfault record in records[..count])
                {
                    Collect(record);
                }
            }

            return _ready.TryDequeue(out request);
        }
    }

    private void Collect(in iommu_hwpt_pgfault record)
    {
        if (!_open.TryGetValue(record.cookie, out List<FaultingPage>? pages))
        {
            _open[record.cookie] = pages = [];
        }

        pages.Add(new FaultingPage(record.addr, (iommu_hwpt_pgfault_perm)record.perm, record.length));
        if ((record.flags & (uint)iommu_hwpt_pgfault_flags.IOMMU_PGFAULT_FLAGS_LAST_PAGE) != 0)
        {
            _ = _open.Remove(record.cookie);
            _ready.Enqueue(new PageRequest(this, record, Context.Cookies.CookieOf(record.dev_id), pages));
        }
    }
}
