using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>An open /dev/iommu (struct iommufd_ctx): one id space of objects.</summary>
/// <remarks>
/// Does not model: cgroup limits, and the 60 s limit of waiting for an object that is in use.
/// </remarks>
public sealed unsafe partial class IommufdContext : SimulatedFile
{
    // Larger than every argument.
    private const int CommandBuffer = 128;

    private IommufdIoas? _vfioIoas;
    private AccountMode _accountMode = AccountMode.User;

    internal IommufdContext(IommufdModule module) => Module = module;

    /// <summary>The machine's iommufd.</summary>
    public IommufdModule Module { get; }

    /// <inheritdoc/>
    public override int Ioctl(uint request, ulong argument, IUserMemory user)
    {
        var nr = request & 0xff;
        var last = Module.HasTestCommands ? Iommufd.IOMMUFD_CMD_BASE + 0x20 : Iommufd.IOMMUFD_CMD_IOAS_NOIOMMU_GET_PA;
        if (nr < Iommufd.IOMMUFD_CMD_BASE || nr > last)
        {
            return VfioIoctl(request, argument, user);
        }

        uint userSize;
        if (user.CopyFrom(argument, &userSize, sizeof(uint)) != 0)
        {
            return -Errno.EFAULT;
        }

        if (!SizeOf(request, out var size, out var minimum))
        {
            return -Errno.ENOTTY;
        }

        if (userSize < minimum)
        {
            return -Errno.EINVAL;
        }

        // SAFETY: size is at most CommandBuffer; StructFrom writes exactly size bytes.
        var buffer = stackalloc byte[CommandBuffer];
        var rc = UserCopy.StructFrom(user, buffer, (nuint)size, argument, userSize);
        if (rc != 0)
        {
            return rc;
        }

        var command = new Ucmd(user, argument, userSize, buffer);
        rc = Execute(request, ref command);
        if (command.NewObject is { } made)
        {
            if (rc == 0)
            {
                Publish(made);
            }
            else
            {
                AbortAndDestroy(made);
            }
        }

        return rc;
    }

    /// <inheritdoc/>
    protected override void Release() => DestroyAll();

    // The size that this kernel knows, and the end of the last field that every user must have.
    private static bool SizeOf(uint request, out int size, out uint minimum)
    {
        (size, minimum) = request switch
        {
            Iommufd.IOMMU_DESTROY => (sizeof(iommu_destroy), 8u),
            Iommufd.IOMMU_IOAS_ALLOC => (sizeof(iommu_ioas_alloc), 12u),
            Iommufd.IOMMU_IOAS_ALLOW_IOVAS => (sizeof(iommu_ioas_allow_iovas), 24u),
            Iommufd.IOMMU_IOAS_COPY => (sizeof(iommu_ioas_copy), 40u),
            Iommufd.IOMMU_IOAS_IOVA_RANGES => (sizeof(iommu_ioas_iova_ranges), 32u),
            Iommufd.IOMMU_IOAS_MAP => (sizeof(iommu_ioas_map), 40u),
            Iommufd.IOMMU_IOAS_UNMAP => (sizeof(iommu_ioas_unmap), 24u),
            Iommufd.IOMMU_OPTION => (sizeof(iommu_option), 24u),
            Iommufd.IOMMU_VFIO_IOAS => (sizeof(iommu_vfio_ioas), 12u),
            Iommufd.IOMMU_HWPT_ALLOC => (sizeof(iommu_hwpt_alloc), 24u),
            Iommufd.IOMMU_GET_HW_INFO => (sizeof(iommu_hw_info), 32u),
            Iommufd.IOMMU_HWPT_SET_DIRTY_TRACKING => (sizeof(iommu_hwpt_set_dirty_tracking), 16u),
            Iommufd.IOMMU_HWPT_GET_DIRTY_BITMAP => (sizeof(iommu_hwpt_get_dirty_bitmap), 48u),
            Iommufd.IOMMU_HWPT_INVALIDATE => (sizeof(iommu_hwpt_invalidate), 32u),
            Iommufd.IOMMU_FAULT_QUEUE_ALLOC => (sizeof(iommu_fault_alloc), 16u),
            Iommufd.IOMMU_VIOMMU_ALLOC => (sizeof(iommu_viommu_alloc), 24u),
            Iommufd.IOMMU_VDEVICE_ALLOC => (sizeof(iommu_vdevice_alloc), 24u),
            Iommufd.IOMMU_VEVENTQ_ALLOC => (sizeof(iommu_veventq_alloc), 28u),
            Iommufd.IOMMU_HW_QUEUE_ALLOC => (sizeof(iommu_hw_queue_alloc), 40u),
            iommu_test_cmd.IOMMU_TEST_CMD => (sizeof(iommu_test_cmd), 68u),
            Iommufd.IOMMU_IOAS_MAP_FILE => (sizeof(iommu_ioas_map_file), 40u),
            Iommufd.IOMMU_IOAS_CHANGE_PROCESS => (sizeof(iommu_ioas_change_process), 8u),
            Iommufd.IOMMU_IOAS_NOIOMMU_GET_PA => (sizeof(iommu_ioas_noiommu_get_pa), 40u),
            _ => (0, 0u),
        };
        return size != 0;
    }

    private int Execute(uint request, ref Ucmd command) => request switch
    {
        Iommufd.IOMMU_DESTROY => DestroyById(command.Command<iommu_destroy>().id),
        Iommufd.IOMMU_IOAS_ALLOC => IoasAlloc(ref command),
        Iommufd.IOMMU_IOAS_ALLOW_IOVAS => IoasAllowIovas(ref command),
        Iommufd.IOMMU_IOAS_COPY => IoasCopy(ref command),
        Iommufd.IOMMU_IOAS_IOVA_RANGES => IoasIovaRanges(ref command),
        Iommufd.IOMMU_IOAS_MAP => IoasMap(ref command),
        Iommufd.IOMMU_IOAS_UNMAP => IoasUnmap(ref command),
        Iommufd.IOMMU_OPTION => Option(ref command),
        Iommufd.IOMMU_VFIO_IOAS => VfioIoas(ref command),
        Iommufd.IOMMU_HWPT_ALLOC => HwptAlloc(ref command),
        Iommufd.IOMMU_GET_HW_INFO => GetHwInfo(ref command),
        Iommufd.IOMMU_HWPT_SET_DIRTY_TRACKING => HwptSetDirtyTracking(ref command),
        Iommufd.IOMMU_HWPT_GET_DIRTY_BITMAP => HwptGetDirtyBitmap(ref command),
        Iommufd.IOMMU_HWPT_INVALIDATE => HwptInvalidate(ref command),
        Iommufd.IOMMU_FAULT_QUEUE_ALLOC => FaultQueueAlloc(ref command),
        Iommufd.IOMMU_VIOMMU_ALLOC => ViommuAlloc(ref command),
        Iommufd.IOMMU_VDEVICE_ALLOC => VdeviceAlloc(ref command),
        Iommufd.IOMMU_VEVENTQ_ALLOC => VeventqAlloc(ref command),
        Iommufd.IOMMU_HW_QUEUE_ALLOC => HwQueueAlloc(ref command),
        iommu_test_cmd.IOMMU_TEST_CMD => TestCommand(ref command),
        Iommufd.IOMMU_IOAS_MAP_FILE => IoasMapFile(ref command),
        Iommufd.IOMMU_IOAS_CHANGE_PROCESS => IoasChangeProcess(ref command),
        Iommufd.IOMMU_IOAS_NOIOMMU_GET_PA => IoasNoIommuGetPa(ref command),
        _ => -Errno.ENOTTY,
    };
}
