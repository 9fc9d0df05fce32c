using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>A slice of a physical IOMMU that user space can give to a guest (struct iommufd_viommu). A driver derives its own kind.</summary>
internal abstract class IommufdViommu(IommufdContext context, uint kind, object unit, HwptPaging parent) : IommufdObject(IommufdObjectType.Viommu)
{
    private readonly Lock _lock = new();
    private readonly Dictionary<ulong, IommufdVdevice> _vdevices = [];
    private readonly List<IommufdVeventq> _veventqs = [];

    internal IommufdContext Context { get; } = context;

    /// <summary>iommu_viommu_type.</summary>
    internal uint Kind { get; } = kind;

    /// <summary>The physical unit; only devices behind it can be used.</summary>
    internal object Unit { get; } = unit;

    /// <summary>The nesting parent: the guest's physical memory.</summary>
    internal HwptPaging Parent { get; } = parent;

    /// <summary>Guards the list of event queues while one is made.</summary>
    internal Lock VeventqsLock { get; } = new();

    /// <summary>True when invalidation requests are taken.</summary>
    internal virtual bool CanInvalidate => false;

    /// <summary>True when nested tables can be made on it.</summary>
    protected virtual bool CanAllocNested => false;

    /// <summary>Takes the driver's data, before the object is published (viommu_init).</summary>
    internal abstract int Init(IommuUserData? data);

    /// <summary>Invalidates as the user asks; sets how many entries were handled.</summary>
    internal virtual int CacheInvalidate(ref IommuUserDataArray array) => -Errno.EOPNOTSUPP;

    /// <summary>True when queues of a type can be given to the hardware.</summary>
    internal virtual bool HasHwQueues(uint type) => false;

    /// <summary>Gives the hardware a queue at a physical address.</summary>
    internal virtual int HwQueueInit(IommufdHwQueue queue, uint index, ulong physical) => -Errno.EOPNOTSUPP;

    /// <summary>Takes a queue away from the hardware.</summary>
    internal virtual void HwQueueDestroy(IommufdHwQueue queue)
    {
    }

    /// <summary>The driver lets go.</summary>
    protected virtual void Release()
    {
    }

    /// <summary>alloc_domain_nested.</summary>
    protected virtual int DomainAllocNested(uint flags, in IommuUserData data, out IommuDomain? domain)
    {
        domain = null;
        return -Errno.EOPNOTSUPP;
    }

    /// <summary>iommufd_viommu_alloc_hwpt_nested.</summary>
    internal int AllocNested(uint flags, in IommuUserData data, out HwptNested? hwpt)
    {
        hwpt = null;
        if ((flags & ~IommufdContext.NestedFlagBits) != 0 || data.Length == 0 || !CanAllocNested)
        {
            return -Errno.EOPNOTSUPP;
        }

        AddUser();
        var rc = DomainAllocNested(IommufdContext.WithoutFault(flags), data, out var domain);
        return Context.AdoptNested(new HwptNested(Context, Parent, this) { PasidCompatible = IommufdContext.IsPasid(flags) }, rc, domain, out hwpt);
    }

    /// <summary>Gives a device its id in the guest: false when the id is taken.</summary>
    internal bool TryAddVdevice(IommufdVdevice vdevice)
    {
        lock (_lock)
        {
            return _vdevices.TryAdd(vdevice.VirtualId, vdevice);
        }
    }

    internal void RemoveVdevice(IommufdVdevice vdevice)
    {
        lock (_lock)
        {
            if (_vdevices.GetValueOrDefault(vdevice.VirtualId) == vdevice)
            {
                _vdevices.Remove(vdevice.VirtualId);
            }
        }
    }

    /// <summary>iommufd_viommu_find_dev: the device behind an id of the guest, or null.</summary>
    internal IommuDevice? FindDevice(ulong virtualId)
    {
        lock (_lock)
        {
            return _vdevices.GetValueOrDefault(virtualId)?.Device.Device;
        }
    }

    /// <summary>iommufd_viommu_get_vdev_id: -ENOENT for a device without one.</summary>
    internal int GetVirtualId(IommuDevice device, out ulong virtualId)
    {
        virtualId = 0;
        lock (_lock)
        {
            foreach (var vdevice in _vdevices.Values)
            {
                if (vdevice.Device.Device == device)
                {
                    virtualId = vdevice.VirtualId;
                    return 0;
                }
            }
        }

        return -Errno.ENOENT;
    }

    internal IommufdVeventq? FindVeventq(uint type) => _veventqs.Find(q => q.Kind == type);

    internal void AddVeventq(IommufdVeventq queue) => _veventqs.Add(queue);

    internal void RemoveVeventq(IommufdVeventq queue) => _veventqs.Remove(queue);

    /// <summary>iommufd_viommu_report_event: -EOPNOTSUPP when there is no queue for the type.</summary>
    internal int ReportEvent(uint type, ReadOnlySpan<byte> data)
    {
        lock (VeventqsLock)
        {
            var queue = FindVeventq(type);
            queue?.Deliver(data);
            return queue == null ? -Errno.EOPNOTSUPP : 0;
        }
    }

    internal sealed override void Destroy()
    {
        Release();
        Parent.DropUser();
    }
}
