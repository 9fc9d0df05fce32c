using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>Page faults: where they are reported, and their completion.</summary>
internal sealed unsafe partial class RfcContext
{
    // As many as fit a page of a region are always granted; more than this never.
    private const uint MostRecords = 4096;

    private int FaultRegion(ulong argument, IUserMemory user)
    {
        int error = CopyArgument(argument, user, out iommu_ioasid_fault_region region);
        if (error < 0)
        {
            return error;
        }

        if (region.flags != 0 || region.__reserved != 0 || region.eventfd < -1 || region.nr_records == 0
            || FindIoasid(region.ioasid)?.Faults is not { } faults)
        {
            return -Errno.EINVAL;
        }

        EventfdContext? eventfd = null;
        if (region.eventfd >= 0)
        {
            error = Module.Vfio.EventfdFrom(region.eventfd, out eventfd);
            if (error < 0)
            {
                return error;
            }
        }

        region.nr_records = Math.Min(region.nr_records, MostRecords);
        region.record_size = (uint)sizeof(iommu_ioasid_fault);
        region.out_fd = -1;
        var file = new RfcFaultRegion(faults, this, eventfd, region.nr_records);
        error = faults.SetRegion(file);
        if (error < 0)
        {
            // It is the other region that the space keeps.
            eventfd?.Dispose();
            Put();
            return error;
        }

        error = user.CopyTo(argument, &region, (nuint)sizeof(iommu_ioasid_fault_region)) < 0
            ? -Errno.EFAULT
            : region.out_fd = user.Process.InstallFile(file);
        if (error < 0)
        {
            file.Put();
            return error;
        }

        _ = user.CopyTo(argument, &region, (nuint)sizeof(iommu_ioasid_fault_region));
        return 0;
    }

    private int FaultComplete(ulong argument, IUserMemory user)
    {
        int error = CopyArgument(argument, user, out iommu_ioasid_fault_completion completion);
        if (error < 0)
        {
            return error;
        }

        return completion.flags != 0 || completion.__reserved != 0 || completion.code > (uint)iommu_page_response_code.IOMMU_PAGE_RESP_FAILURE
            || FindIoasid(completion.ioasid)?.Faults is not { } faults
            ? -Errno.EINVAL
            : faults.Complete(completion.cookie, completion.fault_id, completion.code);
    }
}
