using IommuFd.Native.Uapi;

namespace IommuFd;

/// <content>Page requests as a stream.</content>
public sealed partial class FaultQueue : IPageResponder
{
    private readonly Dictionary<uint, List<FaultingPage>> _open = []; // by the kernel's cookie: groups whose last page has not come yet

    private protected override void Collect(Queue<PageRequest> ready)
    {
        Span<iommu_hwpt_pgfault> records = stackalloc iommu_hwpt_pgfault[16];
        int count = Read(records);
        foreach (ref readonly iommu_hwpt_pgfault record in records[..count])
        {
            if (!_open.TryGetValue(record.cookie, out List<FaultingPage>? pages))
            {
                _open[record.cookie] = pages = [];
            }

            pages.Add(new FaultingPage(record.addr, (iommu_hwpt_pgfault_perm)record.perm, record.length));
            if ((record.flags & (uint)iommu_hwpt_pgfault_flags.IOMMU_PGFAULT_FLAGS_LAST_PAGE) != 0)
            {
                _ = _open.Remove(record.cookie);
                uint? pasid = (record.flags & (uint)iommu_hwpt_pgfault_flags.IOMMU_PGFAULT_FLAGS_PASID_VALID) != 0 ? record.pasid : null;
                ready.Enqueue(new PageRequest(this, record.cookie, Context.Cookies.CookieOf(record.dev_id), record.dev_id,
                    pasid, record.grpid, pages));
            }
        }
    }

    int IPageResponder.Respond(PageRequest request, bool success) => TryRespond(new iommu_hwpt_page_response
    {
        cookie = request.KernelId,
        code = (uint)(success ? iommufd_page_response_code.IOMMUFD_PAGE_RESP_SUCCESS : iommufd_page_response_code.IOMMUFD_PAGE_RESP_INVALID),
    });
}
