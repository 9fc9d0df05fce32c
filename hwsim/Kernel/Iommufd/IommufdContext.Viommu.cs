using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>Virtual IOMMUs, their devices, event queues and hardware queues (drivers/iommu/iommufd/viommu.c and eventq.c).</summary>
public sealed partial class IommufdContext
{
    private const uint VeventqDeepest = 1 << 19;

    private int ViommuAlloc(ref Ucmd ucmd)
    {
        ref var cmd = ref ucmd.Command<iommu_viommu_alloc>();
        if (cmd.flags != 0 || cmd.type == (uint)iommu_viommu_type.IOMMU_VIOMMU_TYPE_DEFAULT)
        {
            return -Errno.EOPNOTSUPP;
        }

        if (GetDevice(cmd.dev_id) is not { } device)
        {
            return -Errno.ENOENT;
        }

        var rc = -Errno.EOPNOTSUPP;
        if (device.Device.Ops is { } ops && ops.HasViommu(device.Device, cmd.type))
        {
            rc = -Errno.ENOENT;
            if (GetObject<HwptPaging>(cmd.hwpt_id, IommufdObjectType.HwptPaging) is { } parent)
            {
                rc = parent.NestParent ? ViommuAlloc(ref ucmd, ref cmd, device.Device, ops, parent) : -Errno.EINVAL;
                PutObject(parent);
            }
        }

        PutObject(device.Object);
        return rc;
    }

    private int ViommuAlloc(ref Ucmd ucmd, ref iommu_viommu_alloc cmd, IommuDevice device, IommuOps ops, HwptPaging parent)
    {
        var viommu = ops.ViommuNew(this, device, cmd.type, parent);
        Reserve(viommu);
        ucmd.NewObject = viommu;
        parent.AddUser();
        var rc = viommu.Init(cmd.data_len == 0 ? null : new IommuUserData(cmd.type, cmd.data_uptr, cmd.data_len, ucmd.User));
        if (rc == 0)
        {
            cmd.out_viommu_id = viommu.Id;
            rc = ucmd.Respond<iommu_viommu_alloc>();
        }

        return rc;
    }

    private int VdeviceAlloc(ref Ucmd ucmd)
    {
        ref var cmd = ref ucmd.Command<iommu_vdevice_alloc>();
        if (GetObject<IommufdViommu>(cmd.viommu_id, IommufdObjectType.Viommu) is not { } viommu)
        {
            return -Errno.ENOENT;
        }

        var rc = -Errno.ENOENT;
        if (GetDevice(cmd.dev_id) is { } device)
        {
            rc = device.Device.Unit == null || device.Device.Unit != viommu.Unit ? -Errno.EINVAL : VdeviceAlloc(ref ucmd, ref cmd, viommu, device);

            // On success the virtual device keeps what was taken here.
            if (rc != 0)
            {
                PutObject(device.Object);
            }
        }

        PutObject(viommu);
        return rc;
    }

    private int VdeviceAlloc(ref Ucmd ucmd, ref iommu_vdevice_alloc cmd, IommufdViommu viommu, IommufdDevice device)
    {
        lock (device.Group.Lock)
        {
            if (device.IsGoing)
            {
                return -Errno.ENOENT;
            }

            if (device.Vdevice != null)
            {
                return -Errno.EEXIST;
            }

            var vdevice = new IommufdVdevice(viommu, device, cmd.virt_id);
            Reserve(vdevice);
            viommu.AddUser();
            device.Vdevice = vdevice;
            var rc = viommu.TryAddVdevice(vdevice) ? 0 : -Errno.EEXIST;
            if (rc == 0)
            {
                cmd.out_vdevice_id = vdevice.Id;
                rc = ucmd.Respond<iommu_vdevice_alloc>();
            }

            if (rc != 0)
            {
                AbortAndDestroy(vdevice);
                return rc;
            }

            Publish(vdevice);
            return 0;
        }
    }

    private int VeventqAlloc(ref Ucmd ucmd)
    {
        ref var cmd = ref ucmd.Command<iommu_veventq_alloc>();
        if (cmd.flags != 0 || cmd.__reserved != 0 || cmd.type == (uint)iommu_veventq_type.IOMMU_VEVENTQ_TYPE_DEFAULT)
        {
            return -Errno.EOPNOTSUPP;
        }

        if (cmd.veventq_depth is 0 or > VeventqDeepest)
        {
            return -Errno.EINVAL;
        }

        if (GetObject<IommufdViommu>(cmd.viommu_id, IommufdObjectType.Viommu) is not { } viommu)
        {
            return -Errno.ENOENT;
        }

        int rc;
        lock (viommu.VeventqsLock)
        {
            rc = viommu.FindVeventq(cmd.type) != null ? -Errno.EEXIST : VeventqAlloc(ref ucmd, ref cmd, viommu);
        }

        PutObject(viommu);
        return rc;
    }

    private int VeventqAlloc(ref Ucmd ucmd, ref iommu_veventq_alloc cmd, IommufdViommu viommu)
    {
        var queue = new IommufdVeventq(this, viommu, cmd.type, cmd.veventq_depth);
        Reserve(queue);
        viommu.AddUser();
        viommu.AddVeventq(queue);
        cmd.out_veventq_id = queue.Id;
        var rc = ucmd.Respond<iommu_veventq_alloc>();
        if (rc == 0)
        {
            rc = ucmd.User.Process.InstallFile(queue.QueueFile);
        }

        if (rc < 0)
        {
            AbortAndDestroy(queue);
            return rc;
        }

        cmd.out_veventq_fd = (uint)rc;
        _ = ucmd.Respond<iommu_veventq_alloc>();
        Publish(queue);
        return 0;
    }

    private int HwQueueAlloc(ref Ucmd ucmd)
    {
        ref var cmd = ref ucmd.Command<iommu_hw_queue_alloc>();
        if (cmd.flags != 0 || cmd.type == (uint)iommu_hw_queue_type.IOMMU_HW_QUEUE_TYPE_DEFAULT)
        {
            return -Errno.EOPNOTSUPP;
        }

        if (cmd.length == 0)
        {
            return -Errno.EINVAL;
        }

        if (cmd.nesting_parent_iova + cmd.length - 1 < cmd.nesting_parent_iova)
        {
            return -Errno.EOVERFLOW;
        }

        if (GetObject<IommufdViommu>(cmd.viommu_id, IommufdObjectType.Viommu) is not { } viommu)
        {
            return -Errno.ENOENT;
        }

        var rc = viommu.HasHwQueues(cmd.type) ? HwQueueAlloc(ref ucmd, ref cmd, viommu) : -Errno.EOPNOTSUPP;
        PutObject(viommu);
        return rc;
    }

    private int HwQueueAlloc(ref Ucmd ucmd, ref iommu_hw_queue_alloc cmd, IommufdViommu viommu)
    {
        var queue = new IommufdHwQueue(viommu, cmd.nesting_parent_iova, cmd.length);
        Reserve(queue);
        ucmd.NewObject = queue;
        var rc = PinQueue(queue, viommu, cmd.nesting_parent_iova % IoptPages.PageSize, cmd.length, out var physical);
        if (rc != 0)
        {
            return rc;
        }

        viommu.AddUser();
        rc = viommu.HwQueueInit(queue, cmd.index, physical);
        if (rc != 0)
        {
            return rc;
        }

        queue.IsInHardware = true;
        cmd.out_hw_queue_id = queue.Id;
        return ucmd.Respond<iommu_hw_queue_alloc>();
    }

    // iommufd_hw_queue_alloc_phys: pinned, and contiguous in physical memory.
    private unsafe int PinQueue(IommufdHwQueue queue, IommufdViommu viommu, ulong offset, ulong length, out ulong physical)
    {
        physical = 0;
        var pages = queue.Pages;
        if (length > ulong.MaxValue - (IoptPages.PageSize - 1) - offset)
        {
            return -Errno.ERANGE;
        }

        // What the kernel cannot allocate a page list for.
        if (pages.Length / IoptPages.PageSize > int.MaxValue / 8)
        {
            return -Errno.ENOMEM;
        }

        var access = CreateInternalAccess();
        var hosts = new nint[pages.Length / IoptPages.PageSize];
        var rc = access.AttachInternal(viommu.Parent.Ioas);
        if (rc == 0)
        {
            rc = access.PinPages(pages.Iova, pages.Length, hosts, write: false);
            if (rc == 0)
            {
                for (var i = 0; i < hosts.Length && rc == 0; i++)
                {
                    // SAFETY: the address only names the page.
                    _ = Module.Memory.TryGetRun((void*)hosts[i], IoptPages.PageSize, out var run);
                    physical = i == 0 ? run.Address : physical;
                    rc = run.Address == physical + ((ulong)i * IoptPages.PageSize) ? 0 : -Errno.EFAULT;
                }

                if (rc != 0)
                {
                    access.UnpinPages(pages.Iova, pages.Length);
                }
            }
        }

        if (rc != 0)
        {
            access.Detach();
            access.Destroy();
            return rc;
        }

        physical += queue.Iova - pages.Iova;
        queue.Access = access;
        return 0;
    }
}
