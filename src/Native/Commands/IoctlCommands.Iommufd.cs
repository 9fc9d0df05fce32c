using IommuFd.Native.Uapi;
using static IommuFd.Native.IoctlFile;
using U = IommuFd.Native.Uapi.Iommufd;

namespace IommuFd.Native;

public static partial class IoctlCommands
{
    /// <summary>The 22 commands of /dev/iommu in Linux 7.3.</summary>
    public static IReadOnlyList<IoctlCommand> Iommufd { get; } =
    [
        Pointer<iommu_destroy>(nameof(U.IOMMU_DESTROY), U.IOMMU_DESTROY, Iommu, V(6, 2)),
        Pointer<iommu_ioas_alloc>(nameof(U.IOMMU_IOAS_ALLOC), U.IOMMU_IOAS_ALLOC, Iommu, V(6, 2)),
        Pointer<iommu_ioas_allow_iovas>(nameof(U.IOMMU_IOAS_ALLOW_IOVAS), U.IOMMU_IOAS_ALLOW_IOVAS, Iommu, V(6, 2)),
        Pointer<iommu_ioas_copy>(nameof(U.IOMMU_IOAS_COPY), U.IOMMU_IOAS_COPY, Iommu, V(6, 2)),
        Pointer<iommu_ioas_iova_ranges>(nameof(U.IOMMU_IOAS_IOVA_RANGES), U.IOMMU_IOAS_IOVA_RANGES, Iommu, V(6, 2)),
        Pointer<iommu_ioas_map>(nameof(U.IOMMU_IOAS_MAP), U.IOMMU_IOAS_MAP, Iommu, V(6, 2)),
        Pointer<iommu_ioas_unmap>(nameof(U.IOMMU_IOAS_UNMAP), U.IOMMU_IOAS_UNMAP, Iommu, V(6, 2)),
        Pointer<iommu_option>(nameof(U.IOMMU_OPTION), U.IOMMU_OPTION, Iommu, V(6, 2)),
        Pointer<iommu_vfio_ioas>(nameof(U.IOMMU_VFIO_IOAS), U.IOMMU_VFIO_IOAS, Iommu, V(6, 2)),
        Pointer<iommu_hwpt_alloc>(nameof(U.IOMMU_HWPT_ALLOC), U.IOMMU_HWPT_ALLOC, Iommu, V(6, 6), 24),
        Pointer<iommu_hw_info>(nameof(U.IOMMU_GET_HW_INFO), U.IOMMU_GET_HW_INFO, Iommu, V(6, 6), 32),
        Pointer<iommu_hwpt_set_dirty_tracking>(nameof(U.IOMMU_HWPT_SET_DIRTY_TRACKING), U.IOMMU_HWPT_SET_DIRTY_TRACKING, Iommu, V(6, 7)),
        Pointer<iommu_hwpt_get_dirty_bitmap>(nameof(U.IOMMU_HWPT_GET_DIRTY_BITMAP), U.IOMMU_HWPT_GET_DIRTY_BITMAP, Iommu, V(6, 7)),
        Pointer<iommu_hwpt_invalidate>(nameof(U.IOMMU_HWPT_INVALIDATE), U.IOMMU_HWPT_INVALIDATE, Iommu, V(6, 8)),
        Pointer<iommu_fault_alloc>(nameof(U.IOMMU_FAULT_QUEUE_ALLOC), U.IOMMU_FAULT_QUEUE_ALLOC, Iommu, V(6, 11)),
        Pointer<iommu_ioas_map_file>(nameof(U.IOMMU_IOAS_MAP_FILE), U.IOMMU_IOAS_MAP_FILE, Iommu, V(6, 13)),
        Pointer<iommu_viommu_alloc>(nameof(U.IOMMU_VIOMMU_ALLOC), U.IOMMU_VIOMMU_ALLOC, Iommu, V(6, 13), 24),
        Pointer<iommu_vdevice_alloc>(nameof(U.IOMMU_VDEVICE_ALLOC), U.IOMMU_VDEVICE_ALLOC, Iommu, V(6, 13)),
        Pointer<iommu_ioas_change_process>(nameof(U.IOMMU_IOAS_CHANGE_PROCESS), U.IOMMU_IOAS_CHANGE_PROCESS, Iommu, V(6, 14)),
        Pointer<iommu_veventq_alloc>(nameof(U.IOMMU_VEVENTQ_ALLOC), U.IOMMU_VEVENTQ_ALLOC, Iommu, V(6, 15), 28),
        Pointer<iommu_hw_queue_alloc>(nameof(U.IOMMU_HW_QUEUE_ALLOC), U.IOMMU_HW_QUEUE_ALLOC, Iommu, V(6, 17)),
        Pointer<iommu_ioas_noiommu_get_pa>(nameof(U.IOMMU_IOAS_NOIOMMU_GET_PA), U.IOMMU_IOAS_NOIOMMU_GET_PA, Iommu, V(7, 3)),
    ];
}
