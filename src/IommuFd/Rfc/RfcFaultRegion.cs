using IommuFd.Native;
using IommuFd.Native.Uapi;
using static IommuFd.Native.Uapi.Rfc;

namespace IommuFd;

/// <summary>The fault region of an IOASID: records are read, requests completed by their name and the device's cookie.</summary>
internal sealed unsafe class RfcFaultRegion : PageRequestStream, IPageResponder
{
    private readonly IommuContext _context;
    private readonly int _ioasid;
    private readonly FaultQueueHandle _handle;
    private readonly ReadableWaiter _waiter;
    private readonly byte[] _records;
    private readonly int _size;
    private readonly Dictionary<uint, List<FaultingPage>> _open = []; // by the kernel's name: groups whose last page has not come yet

    internal RfcFaultRegion(IommuContext context, int ioasid, FaultQueueHandle handle, int recordSize)
        : base(context)
    {
        _context = context;
        _ioasid = ioasid;
        _handle = handle;
        _size = Math.Max(recordSize, sizeof(iommu_ioasid_fault));
        _records = new byte[16 * _size];
        _waiter = new ReadableWaiter(context.Host, handle, this);
    }

    public override ValueTask WaitAsync(CancellationToken cancellation = default) => _waiter.WaitReadableAsync(cancellation);

    int IPageResponder.Respond(PageRequest request, bool success)
    {
        iommu_ioasid_fault_completion command = new()
        {
            argsz = (uint)sizeof(iommu_ioasid_fault_completion), ioasid = _ioasid, fault_id = request.KernelId, cookie = request.Cookie ?? 0,
            code = (uint)(success ? iommu_page_response_code.IOMMU_PAGE_RESP_SUCCESS : iommu_page_response_code.IOMMU_PAGE_RESP_INVALID),
        };
        return _context.Call(IOMMU_IOASID_FAULT_COMPLETE, ref command);
    }

    private protected override void Collect(Queue<PageRequest> ready)
    {
        nint bytes;
        fixed (byte* pointer = _records)
        {
            // SAFETY: the buffer is pinned for the call and as long as stated.
            bytes = _handle.Read((nint)pointer, (nuint)_records.Length);
        }

        if (bytes < 0 && bytes != -Errno.EAGAIN)
        {
            throw Failure.Of("read fault region", (int)bytes);
        }

        for (int at = 0; at + _size <= bytes; at += _size)
        {
            iommu_ioasid_fault record = System.Runtime.InteropServices.MemoryMarshal.Read<iommu_ioasid_fault>(_records.AsSpan(at));
            if ((record.flags & IOMMU_IOASID_FAULT_UNRECOVERABLE) != 0)
            {
                continue; // nothing waits for an answer
            }

            if (!_open.TryGetValue(record.fault_id, out List<FaultingPage>? pages))
            {
                _open[record.fault_id] = pages = [];
            }

            pages.Add(new FaultingPage(record.addr, (iommu_hwpt_pgfault_perm)record.perm, 0));
            if ((record.flags & IOMMU_IOASID_FAULT_LAST_PAGE) != 0)
            {
                _ = _open.Remove(record.fault_id);
                uint? pasid = (record.flags & IOMMU_IOASID_FAULT_PASID_VALID) != 0 ? record.vpasid : null;
                ready.Enqueue(new PageRequest(this, record.fault_id, record.cookie, 0, pasid, record.fault_id, pages));
            }
        }
    }

    private protected override void Disposing() => _waiter.Dispose();

    private protected override void Free() => _handle.Dispose();
}
