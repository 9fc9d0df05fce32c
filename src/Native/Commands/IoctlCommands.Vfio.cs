using IommuFd.Native.Uapi;
using static IommuFd.Native.IoctlFile;
using U = IommuFd.Native.Uapi.Vfio;

namespace IommuFd.Native;

public static partial class IoctlCommands
{
    /// <summary>The commands of VFIO in Linux 7.3, except those of the PowerPC IOMMUs.</summary>
    public static IReadOnlyList<IoctlCommand> Vfio { get; } =
    [
        // Container. Commands from VFIO_BASE + 12 on belong to the type 1 IOMMU.
        Plain(nameof(U.VFIO_GET_API_VERSION), U.VFIO_GET_API_VERSION, VfioContainer, V(3, 6)),
        Plain(nameof(U.VFIO_CHECK_EXTENSION), U.VFIO_CHECK_EXTENSION, VfioContainer, V(3, 6), IoctlPassing.Value),
        Plain(nameof(U.VFIO_SET_IOMMU), U.VFIO_SET_IOMMU, VfioContainer, V(3, 6), IoctlPassing.Value),
        Pointer<vfio_iommu_type1_info>(nameof(U.VFIO_IOMMU_GET_INFO), U.VFIO_IOMMU_GET_INFO, VfioContainer, V(3, 6), 16),
        Pointer<vfio_iommu_type1_dma_map>(nameof(U.VFIO_IOMMU_MAP_DMA), U.VFIO_IOMMU_MAP_DMA, VfioContainer, V(3, 6)),
        Pointer<vfio_iommu_type1_dma_unmap>(nameof(U.VFIO_IOMMU_UNMAP_DMA), U.VFIO_IOMMU_UNMAP_DMA, VfioContainer, V(3, 6)),
        Plain(nameof(U.VFIO_IOMMU_ENABLE), U.VFIO_IOMMU_ENABLE, VfioContainer, V(3, 11)),
        Plain(nameof(U.VFIO_IOMMU_DISABLE), U.VFIO_IOMMU_DISABLE, VfioContainer, V(3, 11)),
        Pointer<vfio_iommu_type1_dirty_bitmap>(nameof(U.VFIO_IOMMU_DIRTY_PAGES), U.VFIO_IOMMU_DIRTY_PAGES, VfioContainer, V(5, 8)),
        // Group.
        Pointer<vfio_group_status>(nameof(U.VFIO_GROUP_GET_STATUS), U.VFIO_GROUP_GET_STATUS, VfioGroup, V(3, 6)),
        Pointer<int>(nameof(U.VFIO_GROUP_SET_CONTAINER), U.VFIO_GROUP_SET_CONTAINER, VfioGroup, V(3, 6)),
        Plain(nameof(U.VFIO_GROUP_UNSET_CONTAINER), U.VFIO_GROUP_UNSET_CONTAINER, VfioGroup, V(3, 6)),
        Plain(nameof(U.VFIO_GROUP_GET_DEVICE_FD), U.VFIO_GROUP_GET_DEVICE_FD, VfioGroup, V(3, 6), IoctlPassing.CString),
        // Device.
        Pointer<vfio_device_info>(nameof(U.VFIO_DEVICE_GET_INFO), U.VFIO_DEVICE_GET_INFO, VfioDevice, V(3, 6), 16),
        Pointer<vfio_region_info>(nameof(U.VFIO_DEVICE_GET_REGION_INFO), U.VFIO_DEVICE_GET_REGION_INFO, VfioDevice, V(3, 6)),
        Pointer<vfio_irq_info>(nameof(U.VFIO_DEVICE_GET_IRQ_INFO), U.VFIO_DEVICE_GET_IRQ_INFO, VfioDevice, V(3, 6)),
        Pointer<vfio_irq_set>(nameof(U.VFIO_DEVICE_SET_IRQS), U.VFIO_DEVICE_SET_IRQS, VfioDevice, V(3, 6)),
        Plain(nameof(U.VFIO_DEVICE_RESET), U.VFIO_DEVICE_RESET, VfioDevice, V(3, 6)),
        Pointer<vfio_pci_hot_reset_info>(nameof(U.VFIO_DEVICE_GET_PCI_HOT_RESET_INFO), U.VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, VfioDevice, V(3, 12)),
        Pointer<vfio_pci_hot_reset>(nameof(U.VFIO_DEVICE_PCI_HOT_RESET), U.VFIO_DEVICE_PCI_HOT_RESET, VfioDevice, V(3, 12)),
        Pointer<vfio_device_gfx_plane_info>(nameof(U.VFIO_DEVICE_QUERY_GFX_PLANE), U.VFIO_DEVICE_QUERY_GFX_PLANE, VfioDevice, V(4, 16), 60),
        Pointer<uint>(nameof(U.VFIO_DEVICE_GET_GFX_DMABUF), U.VFIO_DEVICE_GET_GFX_DMABUF, VfioDevice, V(4, 16)),
        Pointer<vfio_device_ioeventfd>(nameof(U.VFIO_DEVICE_IOEVENTFD), U.VFIO_DEVICE_IOEVENTFD, VfioDevice, V(4, 17), 28),
        Pointer<vfio_device_feature>(nameof(U.VFIO_DEVICE_FEATURE), U.VFIO_DEVICE_FEATURE, VfioDevice, V(5, 7)),
        Pointer<vfio_device_bind_iommufd>(nameof(U.VFIO_DEVICE_BIND_IOMMUFD), U.VFIO_DEVICE_BIND_IOMMUFD, VfioDevice, V(6, 6), 16),
        Pointer<vfio_device_attach_iommufd_pt>(nameof(U.VFIO_DEVICE_ATTACH_IOMMUFD_PT), U.VFIO_DEVICE_ATTACH_IOMMUFD_PT, VfioDevice, V(6, 6), 12),
        Pointer<vfio_device_detach_iommufd_pt>(nameof(U.VFIO_DEVICE_DETACH_IOMMUFD_PT), U.VFIO_DEVICE_DETACH_IOMMUFD_PT, VfioDevice, V(6, 6), 8),
        // Migration data.
        Pointer<vfio_precopy_info>(nameof(U.VFIO_MIG_GET_PRECOPY_INFO), U.VFIO_MIG_GET_PRECOPY_INFO, VfioMigrationData, V(6, 2)),
    ];
}
