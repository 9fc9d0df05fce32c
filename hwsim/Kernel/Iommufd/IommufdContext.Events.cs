using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>IOMMU_FAULT_QUEUE_ALLOC.</summary>
public sealed partial class IommufdContext
{
    private int FaultQueueAlloc(ref Ucmd ucmd)
    {
        ref var cmd = ref ucmd.Command<iommu_fault_alloc>();
        if (cmd.flags != 0)
        {
            return -Errno.EOPNOTSUPP;
        }

        var fault = new IommufdFault(this);
        Reserve(fault);
        ucmd.NewObject = fault;
        cmd.out_fault_id = fault.Id;

        // Whether the answer can be written is known before there is a descriptor to take back.
        var rc = ucmd.Respond<iommu_fault_alloc>();
        if (rc == 0)
        {
            rc = ucmd.User.Process.InstallFile(fault.QueueFile);
            if (rc >= 0)
            {
                cmd.out_fault_fd = (uint)rc;
                _ = ucmd.Respond<iommu_fault_alloc>();
                rc = 0;
            }
        }

        return rc;
    }
}
