using System.Runtime.CompilerServices;
using IommuFd.Native;
using IommuFd.Native.Uapi;
using static IommuFd.Native.Uapi.Iommufd;

namespace IommuFd;

/// <content>Commands that name a device by the context's id for it (<see cref="BoundDevice.DeviceId"/>).</content>
public sealed unsafe partial class IommuContext
{
    /// <summary>IOMMU_GET_HW_INFO: capabilities and raw registers of the IOMMU behind a device.</summary>
    /// <param name="deviceId">A bound device.</param>
    /// <param name="type">The data wanted, or null for the driver's main type (kernel 6.17 for others).</param>
    /// <exception cref="IommuFdException">ENOENT no such device, EOPNOTSUPP the driver has no such data.</exception>
    public HwInfo GetHwInfo(uint deviceId, iommu_hw_info_type? type = null)
    {
        byte[] data = new byte[64];
        iommu_hw_info command;
        for (int round = 0; ; round++)
        {
            fixed (byte* pointer = data)
            {
                // SAFETY: the buffer is pinned for the call and data_len is its length.
                command = new iommu_hw_info
                {
                    size = (uint)sizeof(iommu_hw_info), dev_id = deviceId, data_len = (uint)data.Length, data_uptr = (ulong)pointer,
                    flags = type is null ? 0 : (uint)iommufd_hw_info_flags.IOMMU_HW_INFO_FLAG_INPUT_TYPE, in_data_type = (uint)(type ?? 0),
                };
                Check(IOMMU_GET_HW_INFO, ref command, nameof(IOMMU_GET_HW_INFO));
            }

            if (command.data_len <= data.Length || round == 4)
            {
                break;
            }

            data = new byte[command.data_len]; // a newer kernel has more registers to show
        }

        return new HwInfo(
            (iommu_hw_info_type)command.out_data_type, (iommufd_hw_capabilities)command.out_capabilities, command.out_max_pasid_log2,
            data.AsMemory(0, (int)Math.Min(command.data_len, (uint)data.Length)));
    }

    /// <summary>IOMMU_GET_HW_INFO without the registers: bits of a device's PASIDs; 0 without any, and where the kernel cannot say.</summary>
    internal int MaxPasidLog2(uint deviceId)
    {
        iommu_hw_info command = new() { size = (uint)sizeof(iommu_hw_info), dev_id = deviceId };
        return Call(IOMMU_GET_HW_INFO, ref command) < 0 ? 0 : command.out_max_pasid_log2;
    }

    /// <summary>
    /// IOMMU_HWPT_ALLOC with no data: a page table that the kernel manages, showing an address space in the format of a device's IOMMU.
    /// </summary>
    /// <param name="deviceId">A bound device whose IOMMU defines the format.</param>
    /// <param name="ioas">What the table shows.</param>
    /// <param name="flags">Nesting parent, dirty tracking, PASID; the fault flag is set by <paramref name="faults"/>.</param>
    /// <param name="faults">Where page requests go, or null.</param>
    /// <exception cref="IommuFdException">EOPNOTSUPP the IOMMU cannot do what the flags ask, EINVAL the device cannot use the table.</exception>
    public HwptPaging AllocateHwptPaging(uint deviceId, Ioas ioas, iommufd_hwpt_alloc_flags flags = 0, FaultQueue? faults = null)
    {
        ArgumentNullException.ThrowIfNull(ioas);
        uint id = AllocateHwpt(deviceId, ioas.Id, ioas, faults, flags, iommu_hwpt_data_type.IOMMU_HWPT_DATA_NONE, null, 0);
        return new HwptPaging(ioas, id, faults);
    }

    /// <summary>IOMMU_HWPT_ALLOC with vendor data: a page table that the user manages, nested on a parent.</summary>
    /// <param name="deviceId">A bound device.</param>
    /// <param name="parent">The table that translates its output; made with IOMMU_HWPT_ALLOC_NEST_PARENT.</param>
    /// <param name="type">Which struct <paramref name="data"/> is.</param>
    /// <param name="data">iommu_hwpt_vtd_s1, iommu_hwpt_arm_smmuv3 or iommu_hwpt_amd_guest.</param>
    /// <param name="flags">PASID; the fault flag is set by <paramref name="faults"/>.</param>
    /// <param name="faults">Where page requests go, or null.</param>
    /// <exception cref="IommuFdException">EOPNOTSUPP no nesting here, EINVAL the data or the parent is not suitable.</exception>
    public HwptNested AllocateHwptNested<T>(
        uint deviceId, HwptPaging parent, iommu_hwpt_data_type type, in T data, iommufd_hwpt_alloc_flags flags = 0, FaultQueue? faults = null)
        where T : unmanaged
    {
        ArgumentNullException.ThrowIfNull(parent);
        fixed (T* pointer = &data)
        {
            // SAFETY: the data is pinned for the call and as long as stated.
            uint id = AllocateHwpt(deviceId, parent.Id, parent, faults, flags, type, pointer, (uint)sizeof(T));
            return new HwptNested(this, parent, id, faults);
        }
    }

    /// <summary>The same with the struct as bytes.</summary>
    internal HwptNested AllocateHwptNested(uint deviceId, HwptPaging parent, iommu_hwpt_data_type type, byte[] data,
        iommufd_hwpt_alloc_flags flags, FaultQueue? faults)
    {
        fixed (byte* pointer = data)
        {
            // SAFETY: the data is pinned for the call and as long as stated.
            uint id = AllocateHwpt(deviceId, parent.Id, parent, faults, flags, type, pointer, (uint)data.Length);
            return new HwptNested(this, parent, id, faults);
        }
    }

    /// <summary>IOMMU_FAULT_QUEUE_ALLOC: a queue for the page requests of devices.</summary>
    /// <exception cref="IommuFdException">The kernel is older than 6.11.</exception>
    public FaultQueue AllocateFaultQueue()
    {
        iommu_fault_alloc command = new() { size = (uint)sizeof(iommu_fault_alloc) };
        Enter();
        int result = Call(IOMMU_FAULT_QUEUE_ALLOC, ref command);
        if (result < 0)
        {
            Exit();
            throw Failure.Of(nameof(IOMMU_FAULT_QUEUE_ALLOC), result);
        }

        return new FaultQueue(this, command.out_fault_id, new FaultQueueHandle(Host.Kernel, (int)command.out_fault_fd));
    }

    /// <summary>IOMMU_VIOMMU_ALLOC: a slice of a device's IOMMU for a virtual machine.</summary>
    /// <param name="deviceId">A bound device behind that IOMMU.</param>
    /// <param name="parent">The table that nested tables of it use; made with IOMMU_HWPT_ALLOC_NEST_PARENT.</param>
    /// <param name="type">The kind.</param>
    /// <exception cref="IommuFdException">EOPNOTSUPP the IOMMU has no such slices.</exception>
    public VirtualIommu AllocateVirtualIommu(uint deviceId, HwptPaging parent, iommu_viommu_type type)
    {
        byte none = 0;
        return AllocateVirtualIommu(deviceId, parent, type, ref none, 0);
    }

    /// <summary>IOMMU_VIOMMU_ALLOC with vendor data, which the kernel fills: iommu_viommu_tegra241_cmdqv.</summary>
    /// <inheritdoc cref="AllocateVirtualIommu(uint, HwptPaging, iommu_viommu_type)"/>
    public VirtualIommu AllocateVirtualIommu<T>(uint deviceId, HwptPaging parent, iommu_viommu_type type, ref T data)
        where T : unmanaged => AllocateVirtualIommu(deviceId, parent, type, ref data, (uint)sizeof(T));

    private VirtualIommu AllocateVirtualIommu<T>(uint deviceId, HwptPaging parent, iommu_viommu_type type, ref T data, uint length)
        where T : unmanaged
    {
        ArgumentNullException.ThrowIfNull(parent);
        parent.Enter();
        int result;
        iommu_viommu_alloc command;
        fixed (T* pointer = &data)
        {
            // SAFETY: the data is pinned for the call and as long as stated.
            command = new iommu_viommu_alloc
            {
                size = (uint)sizeof(iommu_viommu_alloc), type = (uint)type, dev_id = deviceId, hwpt_id = parent.Id, data_len = length,
                data_uptr = length == 0 ? 0 : (ulong)pointer,
            };
            result = Call(IOMMU_VIOMMU_ALLOC, ref command);
        }

        if (result < 0)
        {
            parent.Exit();
            throw Failure.Of(nameof(IOMMU_VIOMMU_ALLOC), result, new Evidence("dev_id", $"{deviceId}"), new Evidence("type", $"{type}"));
        }

        return new VirtualIommu(this, parent, command.out_viommu_id);
    }

    /// <summary>Takes the holds that the new table gives back: on what it is made from, and on the fault queue.</summary>
    internal uint AllocateHwpt(
        uint deviceId, uint tableId, Resource from, FaultQueue? faults, iommufd_hwpt_alloc_flags flags, iommu_hwpt_data_type type,
        void* data, uint length)
    {
        from.Enter();
        if (faults is not null && !faults.TryEnter())
        {
            from.Exit();
            ObjectDisposedException.ThrowIf(true, faults);
        }

        iommu_hwpt_alloc command = new()
        {
            size = (uint)sizeof(iommu_hwpt_alloc),
            flags = (uint)(flags | (faults is null ? 0 : iommufd_hwpt_alloc_flags.IOMMU_HWPT_FAULT_ID_VALID)),
            dev_id = deviceId,
            pt_id = tableId,
            data_type = (uint)type,
            data_len = length,
            data_uptr = (ulong)data,
            fault_id = faults?.Id ?? 0,
        };
        int result = Call(IOMMU_HWPT_ALLOC, ref command);
        if (result < 0)
        {
            faults?.Exit();
            from.Exit();
            throw Failure.Of(
                nameof(IOMMU_HWPT_ALLOC), result, new Evidence("dev_id", $"{deviceId}"), new Evidence("pt_id", $"{tableId}"),
                new Evidence("flags", $"{flags}"));
        }

        return command.out_hwpt_id;
    }

    /// <summary>IOMMU_HWPT_INVALIDATE on a nested table or a virtual IOMMU.</summary>
    internal uint Invalidate<T>(uint id, iommu_hwpt_invalidate_data_type type, ReadOnlySpan<T> entries)
        where T : unmanaged
    {
        fixed (T* pointer = entries)
        {
            // SAFETY: the entries are pinned for the call; number and length are theirs.
            iommu_hwpt_invalidate command = new()
            {
                size = (uint)sizeof(iommu_hwpt_invalidate), hwpt_id = id, data_uptr = (ulong)pointer, data_type = (uint)type,
                entry_len = (uint)Unsafe.SizeOf<T>(), entry_num = (uint)entries.Length,
            };
            int result = Call(IOMMU_HWPT_INVALIDATE, ref command);
            return result >= 0
                ? command.entry_num
                : throw Failure.Of(nameof(IOMMU_HWPT_INVALIDATE), result, new Evidence("handled", $"{command.entry_num} of {entries.Length}"));
        }
    }
}
