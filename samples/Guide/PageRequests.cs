using IommuFd;
using IommuFd.Native.Uapi;

namespace Guide;

/// <summary>Chapter 7: a device that asks for the pages that it needs.</summary>
public static class PageRequests
{
    /// <summary>Answers page requests of a device until it is cancelled: every page that it asks for is mapped.</summary>
    /// <param name="context">The context.</param>
    /// <param name="device">A device with PASID, ATS and PRI (on the simulator: 0000:00:08.0 of intel-scalable).</param>
    /// <param name="memory">What is mapped, page by page, where the device asks.</param>
    /// <param name="start">Called when the device may begin.</param>
    /// <param name="cancellation">Ends it.</param>
    public static async Task ServeAsync(IommuContext context, BoundDevice device, DmaBuffer memory, Action start, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(context);
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(memory);
        ArgumentNullException.ThrowIfNull(start);
        using Ioas space = context.AllocateIoas();
        using FaultQueue faults = context.AllocateFaultQueue();
        using HwptPaging table = context.AllocateHwptPaging(device.DeviceId, space, iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_PASID, faults);
        using Attachment attachment = device.Attach(table), pasid = device.Attach(table, pasid: 1);
        start();
        ulong used = 0;
        await foreach (PageRequest request in faults.ReadAllAsync(cancellation))
        {
            using (request)                                                       // refused if nothing else is said
            {
                foreach (FaultingPage page in request.Pages)
                    space.MapFixed(memory.Address + (nint)(used++ * 4096), 4096, DmaAccess.ReadWrite, page.Address);
                request.Complete();                                               // the device tries again
            }
        }
    }
}
