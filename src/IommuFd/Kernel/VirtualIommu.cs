using IommuFd.Native;
using IommuFd.Native.Uapi;
using static IommuFd.Native.Uapi.Iommufd;

namespace IommuFd;

/// <summary>A slice of a hardware IOMMU for one virtual machine (IOMMUFD_OBJ_VIOMMU).</summary>
public sealed unsafe class VirtualIommu : Resource
{
    private readonly Dictionary<(iommu_hw_queue_type Type, uint Index), HardwareQueue> _queues = [];

    internal VirtualIommu(IommuContext context, HwptPaging parent, uint id)
        : base(parent)
    {
        Context = context;
        Parent = parent;
        Id = id;
    }

    /// <summary>The object id.</summary>
    public uint Id { get; }

    /// <summary>The context it belongs to.</summary>
    public IommuContext Context { get; }

    /// <summary>The table under its nested tables.</summary>
    public HwptPaging Parent { get; }

    /// <summary>IOMMU_VDEVICE_ALLOC: gives a device a number in the virtual IOMMU (a stream id, a BDF).</summary>
    /// <exception cref="IommuFdException">EEXIST the number or the device is taken, ENOENT no such device.</exception>
    public VirtualDevice AllocateVirtualDevice(uint deviceId, ulong virtualId)
    {
        iommu_vdevice_alloc command = new() { size = (uint)sizeof(iommu_vdevice_alloc), viommu_id = Id, dev_id = deviceId, virt_id = virtualId };
        Allocate(IOMMU_VDEVICE_ALLOC, ref command, nameof(IOMMU_VDEVICE_ALLOC));
        return new VirtualDevice(this, command.out_vdevice_id, deviceId, virtualId);
    }

    /// <summary>IOMMU_VEVENTQ_ALLOC: a queue of events that the virtual machine's driver would see.</summary>
    /// <param name="type">The kind of events; one queue per kind.</param>
    /// <param name="depth">Most events that wait to be read; more are lost, and that is told.</param>
    /// <exception cref="IommuFdException">EOPNOTSUPP no such events, EEXIST there is such a queue.</exception>
    public VirtualEventQueue AllocateEventQueue(iommu_veventq_type type, uint depth)
    {
        iommu_veventq_alloc command = new() { size = (uint)sizeof(iommu_veventq_alloc), viommu_id = Id, type = (uint)type, veventq_depth = depth };
        Allocate(IOMMU_VEVENTQ_ALLOC, ref command, nameof(IOMMU_VEVENTQ_ALLOC));
        return new VirtualEventQueue(this, command.out_veventq_id,
            new VirtualEventQueueHandle(Context.Host.Kernel, (int)command.out_veventq_fd), type);
    }

    /// <summary>IOMMU_HW_QUEUE_ALLOC: lets the hardware use guest memory as one of its queues.</summary>
    /// <param name="type">The kind of queue.</param>
    /// <param name="index">Which of the virtual IOMMU's queues.</param>
    /// <param name="iova">Where the memory is in the parent's address space, physically contiguous.</param>
    /// <param name="length">Bytes.</param>
    /// <exception cref="IommuFdException">EOPNOTSUPP no such queues, EINVAL order or length, EIO the memory is not contiguous.</exception>
    public HardwareQueue AllocateHardwareQueue(iommu_hw_queue_type type, uint index, ulong iova, ulong length)
    {
        iommu_hw_queue_alloc command = new()
        {
            size = (uint)sizeof(iommu_hw_queue_alloc), viommu_id = Id, type = (uint)type, index = index, nesting_parent_iova = iova, length = length,
        };
        Allocate(IOMMU_HW_QUEUE_ALLOC, ref command, nameof(IOMMU_HW_QUEUE_ALLOC));
        lock (_queues)
        {
            HardwareQueue? before = index > 0 && _queues.TryGetValue((type, index - 1), out HardwareQueue? found) && found.TryEnter() ? found : null;
            return _queues[(type, index)] = new HardwareQueue(this, before, command.out_hw_queue_id);
        }
    }

    /// <summary>IOMMU_HWPT_ALLOC on the virtual IOMMU: a table that the user manages.</summary>
    /// <param name="deviceId">A bound device.</param>
    /// <param name="type">Which struct <paramref name="data"/> is.</param>
    /// <param name="data">iommu_hwpt_arm_smmuv3 and its kin.</param>
    /// <param name="flags">PASID; the fault flag is set by <paramref name="faults"/>.</param>
    /// <param name="faults">Where page requests go, or null.</param>
    /// <exception cref="IommuFdException">The data is not suitable.</exception>
    public HwptNested AllocateHwptNested<T>(uint deviceId, iommu_hwpt_data_type type, in T data, iommufd_hwpt_alloc_flags flags = 0,
        FaultQueue? faults = null)
        where T : unmanaged
    {
        fixed (T* pointer = &data)
        {
            // SAFETY: the data is pinned for the call and as long as stated.
            uint id = Context.AllocateHwpt(deviceId, Id, this, faults, flags, type, pointer, (uint)sizeof(T));
            return new HwptNested(Context, this, id, faults);
        }
    }

    /// <summary>The same with the struct as bytes.</summary>
    internal HwptNested AllocateHwptNested(uint deviceId, iommu_hwpt_data_type type, byte[] data, iommufd_hwpt_alloc_flags flags, FaultQueue? faults)
    {
        fixed (byte* pointer = data)
        {
            // SAFETY: the data is pinned for the call and as long as stated.
            uint id = Context.AllocateHwpt(deviceId, Id, this, faults, flags, type, pointer, (uint)data.Length);
            return new HwptNested(Context, this, id, faults);
        }
    }

    /// <summary>IOMMU_HWPT_INVALIDATE on the virtual IOMMU: invalidation commands as the guest wrote them.</summary>
    /// <returns>How many entries were handled.</returns>
    /// <exception cref="IommuFdException">An entry is wrong; the evidence says how many were handled before it.</exception>
    public uint Invalidate<T>(iommu_hwpt_invalidate_data_type type, params ReadOnlySpan<T> entries)
        where T : unmanaged
    {
        Enter();
        try
        {
            return Context.Invalidate(Id, type, entries);
        }
        finally
        {
            Exit();
        }
    }

    private void Allocate<T>(uint request, ref T command, string name)
        where T : unmanaged
    {
        Enter(); // given back by the object made
        int result = Context.Call(request, ref command);
        if (result < 0)
        {
            Exit();
            throw Failure.Of(name, result, new Evidence("viommu_id", $"{Id}"));
        }
    }

    private protected override void Free() => _ = Context.Destroy(Id);
}
