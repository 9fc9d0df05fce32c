using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>The mock driver's virtual IOMMU (struct mock_viommu): device caches to invalidate, two queues, a page to mmap.</summary>
internal sealed unsafe class MockViommu(IommufdContext context, MockOps ops, HwptPaging parent)
    : IommufdViommu(context, iommu_test_cmd.IOMMU_VIOMMU_TYPE_SELFTEST, ops, parent)
{
    private const int QueueCount = 2;

    private readonly Lock _queueMutex = new();
    private readonly IommufdHwQueue?[] _queues = new IommufdHwQueue[QueueCount];
    private ViommuPages? _pages;

    internal override bool CanInvalidate => true;

    protected override bool CanAllocNested => true;

    internal override int Init(IommuUserData? data)
    {
        if (data is not { } given)
        {
            return 0;
        }

        var rc = given.Copy(iommu_test_cmd.IOMMU_VIOMMU_TYPE_SELFTEST, 8, out iommu_viommu_selftest value);
        if (rc != 0)
        {
            return rc;
        }

        // The page begins with the word that user space gave, which comes back in the answer as well.
        _pages = Context.AddMmap(this, 2 * IoptPages.PageSize, value.in_data);
        value.out_data = value.in_data;
        value.out_mmap_offset = _pages.Offset;
        value.out_mmap_length = _pages.Length;
        return given.User.CopyTo(given.Address, &value, nuint.Min((nuint)sizeof(iommu_viommu_selftest), given.Length)) == 0 ? 0 : -Errno.EFAULT;
    }

    protected override void Release()
    {
        if (_pages != null)
        {
            Context.RemoveMmap(_pages);
        }
    }

    protected override int DomainAllocNested(uint flags, in IommuUserData data, out IommuDomain? domain)
    {
        var rc = ops.AllocNested(this, flags, data, out var nested);
        domain = nested;
        return rc;
    }

    internal override int CacheInvalidate(ref IommuUserDataArray array)
    {
        var count = array.EntryCount;
        array.EntryCount = 0;

        // No request at all asks whether the type is known.
        if (array.Type != iommu_test_cmd.IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST)
        {
            return -Errno.EINVAL;
        }

        // All requests are copied before the first one is carried out.
        var requests = new iommu_viommu_invalidate_selftest[count];
        for (uint i = 0; i < count; i++)
        {
            fixed (iommu_viommu_invalidate_selftest* request = &requests[i])
            {
                var rc = UserCopy.StructFrom(
                    array.User, request, (nuint)sizeof(iommu_viommu_invalidate_selftest),
                    array.Address + ((ulong)array.EntryLength * i), array.EntryLength);
                if (rc != 0)
                {
                    return rc;
                }
            }
        }

        foreach (ref readonly var request in requests.AsSpan())
        {
            if ((request.flags & ~iommu_test_cmd.IOMMU_TEST_INVALIDATE_FLAG_ALL) != 0)
            {
                return -Errno.EOPNOTSUPP;
            }

            if (request.cache_id >= MockDevice.CacheCount || FindDevice(request.vdev_id) is not MockDevice device)
            {
                return -Errno.EINVAL;
            }

            if ((request.flags & iommu_test_cmd.IOMMU_TEST_INVALIDATE_FLAG_ALL) != 0)
            {
                Array.Clear(device.Cache);
            }
            else
            {
                device.Cache[request.cache_id] = 0;
            }

            array.EntryCount++;
        }

        return 0;
    }

    internal override bool HasHwQueues(uint type) => type == iommu_test_cmd.IOMMU_HW_QUEUE_TYPE_SELFTEST;

    // Queue 1 depends on queue 0, which cannot be destroyed before it.
    internal override int HwQueueInit(IommufdHwQueue queue, uint index, ulong physical)
    {
        if (index >= QueueCount)
        {
            return -Errno.EINVAL;
        }

        lock (_queueMutex)
        {
            if (_queues[index] != null)
            {
                return -Errno.EEXIST;
            }

            if (index != 0 && _queues[index - 1] == null)
            {
                return -Errno.EIO;
            }

            if (physical != Parent.Domain!.IovaToPhys(queue.Iova))
            {
                return -Errno.EFAULT;
            }

            if (index != 0)
            {
                _queues[index - 1]!.AddUser();
            }

            _queues[index] = queue;
            return 0;
        }
    }

    internal override void HwQueueDestroy(IommufdHwQueue queue)
    {
        lock (_queueMutex)
        {
            var index = Array.IndexOf(_queues, queue);
            _queues[index] = null;
            if (index != 0)
            {
                _queues[index - 1]!.DropUser();
            }
        }
    }
}
