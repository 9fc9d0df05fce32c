using System.Runtime.InteropServices;
using IommuFd.Native;
using IommuFd.Native.Uapi;
using static IommuFd.Native.Uapi.Vfio;

namespace IommuFd;

/// <summary>
/// The kernel's level of a bound VFIO device: one method per command of its descriptor (include/uapi/linux/vfio.h). Got from
/// <see cref="BoundDevice.Calls"/>, since the kernel refuses all of them before binding.
/// </summary>
public sealed unsafe partial class VfioDeviceCalls
{
    private readonly VfioDeviceHandle _handle;

    /// <summary>The commands of a device whose descriptor the caller has, for example from a group; the caller keeps and closes it.</summary>
    public VfioDeviceCalls(VfioDeviceHandle handle)
    {
        ArgumentNullException.ThrowIfNull(handle);
        _handle = handle;
    }

    internal VfioDeviceHandle Handle => _handle;

    /// <summary>VFIO_DEVICE_GET_INFO: flags (VFIO_DEVICE_FLAGS_*), number of regions and of interrupt kinds.</summary>
    /// <exception cref="IommuFdException">The device is gone.</exception>
    public DeviceInfo GetInfo()
    {
        _ = Failure.Check(ArgszQuery.Run(_handle, VFIO_DEVICE_GET_INFO, default(vfio_device_info), out byte[] answer), nameof(VFIO_DEVICE_GET_INFO));
        vfio_device_info info = ArgszQuery.Head<vfio_device_info>(answer);
        return new DeviceInfo(info.flags, info.num_regions, info.num_irqs);
    }

    /// <summary>
    /// VFIO_DEVICE_INFO_CAP_PASID of the proposal's kernel; null for a device with one address space only. On mainline the same number is another
    /// capability.
    /// </summary>
    internal (int Width, uint Flags)? GetPasidCapability()
    {
        _ = Failure.Check(ArgszQuery.Run(_handle, VFIO_DEVICE_GET_INFO, default(vfio_device_info), out byte[] answer), nameof(VFIO_DEVICE_GET_INFO));
        vfio_device_info info = ArgszQuery.Head<vfio_device_info>(answer);
        CapabilityChain chain = new(answer, (info.flags & VFIO_DEVICE_FLAGS_CAPS) != 0 ? info.cap_offset : 0);
        while (chain.Next())
        {
            if (chain.Id == Rfc.VFIO_DEVICE_INFO_CAP_PASID && MemoryMarshal.TryRead(chain.Body, out vfio_device_info_cap_pasid capability))
            {
                return ((int)capability.width, capability.flags);
            }
        }

        return null;
    }

    /// <summary>VFIO_DEVICE_GET_REGION_INFO with its capabilities.</summary>
    /// <exception cref="IommuFdException">EINVAL there is no region of that number.</exception>
    public RegionInfo GetRegionInfo(uint index)
    {
        vfio_region_info question = new() { index = index };
        int result = ArgszQuery.Run(_handle, VFIO_DEVICE_GET_REGION_INFO, question, out byte[] answer);
        if (result < 0)
        {
            throw Failure.Of(nameof(VFIO_DEVICE_GET_REGION_INFO), result, new Evidence("index", $"{index}"));
        }

        vfio_region_info info = ArgszQuery.Head<vfio_region_info>(answer);
        RegionAccess access = (RegionAccess)(info.flags & (VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE | VFIO_REGION_INFO_FLAG_MMAP));
        RegionArea[] areas = (access & RegionAccess.Mmap) == 0 ? [] : [new RegionArea(0, info.size)];
        CapabilityChain chain = new(answer, (info.flags & VFIO_REGION_INFO_FLAG_CAPS) != 0 ? info.cap_offset : 0);
        while (chain.Next())
        {
            if (chain.Id == VFIO_REGION_INFO_CAP_SPARSE_MMAP && areas.Length != 0)
            {
                areas = SparseAreas(chain.Body, info.size);
            }
        }

        return new RegionInfo(index, access, info.size, info.offset, areas);
    }

    /// <summary>VFIO_DEVICE_GET_IRQ_INFO.</summary>
    /// <exception cref="IommuFdException">EINVAL the device has no interrupts of this kind.</exception>
    public IrqInfo GetIrqInfo(InterruptKind kind)
    {
        vfio_irq_info info = new() { argsz = (uint)sizeof(vfio_irq_info), index = (uint)kind };
        int result = _handle.Ioctl(VFIO_DEVICE_GET_IRQ_INFO, ref info);
        return result >= 0
            ? new IrqInfo(kind, (InterruptAbilities)info.flags, info.count)
            : throw Failure.Of(nameof(VFIO_DEVICE_GET_IRQ_INFO), result, new Evidence("kind", $"{kind}"));
    }

    /// <summary>
    /// VFIO_DEVICE_SET_IRQS with DATA_EVENTFD and ACTION_TRIGGER: from now on interrupt <paramref name="start"/> + i signals descriptor i (-1: none).
    /// </summary>
    /// <exception cref="IommuFdException">EINVAL too many, or another kind is enabled; ENOSPC no vectors left.</exception>
    public void SetIrqEventFds(InterruptKind kind, uint start, params ReadOnlySpan<int> descriptors) =>
        SetIrqDescriptors(kind, start, VFIO_IRQ_SET_ACTION_TRIGGER, descriptors);

    /// <summary>VFIO_DEVICE_SET_IRQS with DATA_NONE and ACTION_TRIGGER of no interrupts: turns the kind off.</summary>
    /// <exception cref="IommuFdException">The device is gone.</exception>
    public void DisableIrqs(InterruptKind kind) => SetIrq(kind, 0, 0, VFIO_IRQ_SET_ACTION_TRIGGER);

    /// <summary>VFIO_DEVICE_SET_IRQS with ACTION_TRIGGER: fires interrupts as if the device had; for tests of a program's own path.</summary>
    /// <exception cref="IommuFdException">EINVAL they are not enabled.</exception>
    public void TriggerIrqs(InterruptKind kind, uint start, uint count) => SetIrq(kind, start, count, VFIO_IRQ_SET_ACTION_TRIGGER);

    /// <summary>VFIO_DEVICE_SET_IRQS with ACTION_MASK. Allocates nothing.</summary>
    /// <exception cref="IommuFdException">EINVAL or ENOTTY they cannot be masked.</exception>
    public void MaskIrqs(InterruptKind kind, uint start, uint count) => SetIrq(kind, start, count, VFIO_IRQ_SET_ACTION_MASK);

    /// <summary>VFIO_DEVICE_SET_IRQS with ACTION_UNMASK. Allocates nothing.</summary>
    /// <exception cref="IommuFdException">EINVAL or ENOTTY they cannot be masked.</exception>
    public void UnmaskIrqs(InterruptKind kind, uint start, uint count) => SetIrq(kind, start, count, VFIO_IRQ_SET_ACTION_UNMASK);

    /// <summary>
    /// VFIO_DEVICE_SET_IRQS with DATA_EVENTFD and ACTION_UNMASK: a signal of the descriptor unmasks the interrupt (INTx resample); -1 takes it back.
    /// </summary>
    /// <exception cref="IommuFdException">EINVAL or ENOTTY they cannot be masked.</exception>
    public void SetUnmaskEventFd(InterruptKind kind, uint start, int descriptor) =>
        SetIrqDescriptors(kind, start, VFIO_IRQ_SET_ACTION_UNMASK, [descriptor]);

    /// <summary>VFIO_DEVICE_RESET: the function's own reset. Regions stay mapped; what the device was programmed with is lost.</summary>
    /// <exception cref="IommuFdException">EINVAL the device has no reset of its own.</exception>
    public void Reset() => _ = Failure.Check(_handle.Ioctl(VFIO_DEVICE_RESET, 0), nameof(VFIO_DEVICE_RESET));

    /// <summary>
    /// VFIO_DEVICE_ATTACH_IOMMUFD_PT: the device's DMA reaches an address space or a page table from now on; replaces what was attached, atomically.
    /// </summary>
    /// <param name="tableId">Id of an <see cref="Ioas"/> or of a hardware page table.</param>
    /// <param name="pasid">The PASID that the DMA carries, or null for DMA without one.</param>
    /// <returns>The id of the page table in effect: made by the kernel when an address space was given.</returns>
    /// <exception cref="IommuFdException">EINVAL the IOMMU cannot use it, EADDRINUSE a reserved range meets a mapping, ENOENT no such
    /// object.</exception>
    public uint Attach(uint tableId, uint? pasid = null)
    {
        int result = AttachCall(tableId, pasid, out uint effective);
        return result >= 0 ? effective : throw AttachFailure(result, tableId);
    }

    internal int AttachCall(uint tableId, uint? pasid, out uint effective)
    {
        vfio_device_attach_iommufd_pt command = new()
        {
            argsz = (uint)sizeof(vfio_device_attach_iommufd_pt),
            flags = pasid is null ? 0 : VFIO_DEVICE_ATTACH_PASID,
            pt_id = tableId,
            pasid = pasid ?? 0,
        };
        int result = _handle.Ioctl(VFIO_DEVICE_ATTACH_IOMMUFD_PT, ref command);
        effective = command.pt_id;
        return result;
    }

    internal static IommuFdException AttachFailure(int result, uint tableId) =>
        Failure.Of(nameof(VFIO_DEVICE_ATTACH_IOMMUFD_PT), result, new Evidence("pt_id", $"{tableId}"));

    /// <summary>VFIO_DEVICE_DETACH_IOMMUFD_PT: the device's DMA (of that PASID) is blocked from now on.</summary>
    /// <exception cref="IommuFdException">The device is gone.</exception>
    public void Detach(uint? pasid = null) => _ = Failure.Check(DetachCall(pasid), nameof(VFIO_DEVICE_DETACH_IOMMUFD_PT));

    internal int DetachCall(uint? pasid)
    {
        vfio_device_detach_iommufd_pt command = new()
        {
            argsz = (uint)sizeof(vfio_device_detach_iommufd_pt), flags = pasid is null ? 0 : VFIO_DEVICE_DETACH_PASID, pasid = pasid ?? 0,
        };
        return _handle.Ioctl(VFIO_DEVICE_DETACH_IOMMUFD_PT, ref command);
    }

    internal int SetIrqCall(InterruptKind kind, uint start, uint count, uint action)
    {
        vfio_irq_set command = new()
        {
            argsz = (uint)sizeof(vfio_irq_set), flags = VFIO_IRQ_SET_DATA_NONE | action, index = (uint)kind, start = start, count = count,
        };
        return _handle.Ioctl(VFIO_DEVICE_SET_IRQS, ref command);
    }

    private void SetIrq(InterruptKind kind, uint start, uint count, uint action)
    {
        int result = SetIrqCall(kind, start, count, action);
        if (result < 0)
        {
            throw Failure.Of(nameof(VFIO_DEVICE_SET_IRQS), result, new Evidence("kind", $"{kind}"), new Evidence("start", $"{start}"),
                new Evidence("count", $"{count}"));
        }
    }

    private void SetIrqDescriptors(InterruptKind kind, uint start, uint action, ReadOnlySpan<int> descriptors)
    {
        byte[] argument = new byte[checked(sizeof(vfio_irq_set) + (descriptors.Length * sizeof(int)))];
        vfio_irq_set head = new()
        {
            argsz = (uint)argument.Length, flags = VFIO_IRQ_SET_DATA_EVENTFD | action, index = (uint)kind, start = start,
            count = (uint)descriptors.Length,
        };
        MemoryMarshal.Write(argument, head);
        MemoryMarshal.AsBytes(descriptors).CopyTo(argument.AsSpan(sizeof(vfio_irq_set)));
        int result;
        fixed (byte* pointer = argument)
        {
            // SAFETY: the buffer is pinned for the call and argsz is its length.
            result = _handle.Ioctl(VFIO_DEVICE_SET_IRQS, (nint)pointer);
        }

        if (result < 0)
        {
            throw Failure.Of(
                nameof(VFIO_DEVICE_SET_IRQS), result, new Evidence("kind", $"{kind}"), new Evidence("start", $"{start}"),
                new Evidence("count", $"{descriptors.Length}"));
        }
    }

    private static RegionArea[] SparseAreas(ReadOnlySpan<byte> body, ulong size)
    {
        int head = sizeof(vfio_region_info_cap_sparse_mmap);
        if (body.Length < head)
        {
            return [];
        }

        uint count = MemoryMarshal.Read<vfio_region_info_cap_sparse_mmap>(body).nr_areas;
        ReadOnlySpan<vfio_region_sparse_mmap_area> areas = MemoryMarshal.Cast<byte, vfio_region_sparse_mmap_area>(body[head..]);
        List<RegionArea> kept = [];
        for (int i = 0; i < Math.Min(count, (uint)areas.Length); i++)
        {
            (ulong offset, ulong length) = (areas[i].offset, areas[i].size);
            if (length != 0 && offset < size && length <= size - offset)
            {
                kept.Add(new RegionArea(offset, length));
            }
        }

        return [.. kept];
    }
}

/// <summary>VFIO_DEVICE_GET_INFO.</summary>
/// <param name="Flags">VFIO_DEVICE_FLAGS_*.</param>
/// <param name="RegionCount">How many region numbers there are; some regions may be empty.</param>
/// <param name="InterruptKindCount">How many interrupt indexes there are.</param>
public sealed record DeviceInfo(uint Flags, uint RegionCount, uint InterruptKindCount)
{
    /// <summary>Whether the device has a reset of its own.</summary>
    public bool CanReset => (Flags & VFIO_DEVICE_FLAGS_RESET) != 0;

    /// <summary>Whether it is a PCI function.</summary>
    public bool IsPci => (Flags & VFIO_DEVICE_FLAGS_PCI) != 0;
}
