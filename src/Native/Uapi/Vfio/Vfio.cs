namespace IommuFd.Native.Uapi;

/// <summary>Constants of linux/vfio.h. This part: the ioctl type and base and the request numbers.</summary>
/// <remarks>
/// Request numbers are unique per kind of file only: container, group, device and migration data each have their own commands at VFIO_BASE + 12
/// and above.
/// </remarks>
public static partial class Vfio
{
    /// <summary>What VFIO_GET_API_VERSION returns.</summary>
    public const int VFIO_API_VERSION = 0;

    /// <summary>Ioctl type byte, 0x3b. /dev/iommu uses the same one.</summary>
    public const uint VFIO_TYPE = ';';

    /// <summary>First command number.</summary>
    public const uint VFIO_BASE = 100;

    /// <summary>Container request without argument: returns VFIO_API_VERSION.</summary>
    public const uint VFIO_GET_API_VERSION = 0x3b64;

    /// <summary>Container request, argument an extension number by value: returns 0 or a positive number.</summary>
    public const uint VFIO_CHECK_EXTENSION = 0x3b65;

    /// <summary>Container request, argument an IOMMU type by value: chooses the type once a group is in the container.</summary>
    public const uint VFIO_SET_IOMMU = 0x3b66;

    /// <summary>Group request, argument vfio_group_status.</summary>
    public const uint VFIO_GROUP_GET_STATUS = 0x3b67;

    /// <summary>Group request, argument the address of a container's (or iommufd's) descriptor as a 32-bit integer.</summary>
    public const uint VFIO_GROUP_SET_CONTAINER = 0x3b68;

    /// <summary>Group request without argument: leaves the container.</summary>
    public const uint VFIO_GROUP_UNSET_CONTAINER = 0x3b69;

    /// <summary>Group request, argument the address of the device's name (NUL-terminated): returns a device descriptor.</summary>
    public const uint VFIO_GROUP_GET_DEVICE_FD = 0x3b6a;

    /// <summary>Device request, argument vfio_device_info.</summary>
    public const uint VFIO_DEVICE_GET_INFO = 0x3b6b;

    /// <summary>Device request, argument vfio_region_info.</summary>
    public const uint VFIO_DEVICE_GET_REGION_INFO = 0x3b6c;

    /// <summary>Device request, argument vfio_irq_info.</summary>
    public const uint VFIO_DEVICE_GET_IRQ_INFO = 0x3b6d;

    /// <summary>Device request, argument vfio_irq_set and the data it announces.</summary>
    public const uint VFIO_DEVICE_SET_IRQS = 0x3b6e;

    /// <summary>Device request without argument: resets the device.</summary>
    public const uint VFIO_DEVICE_RESET = 0x3b6f;

    /// <summary>Device request, argument vfio_pci_hot_reset_info.</summary>
    public const uint VFIO_DEVICE_GET_PCI_HOT_RESET_INFO = 0x3b70;

    /// <summary>Device request, argument vfio_pci_hot_reset.</summary>
    public const uint VFIO_DEVICE_PCI_HOT_RESET = 0x3b71;

    /// <summary>Device request, argument vfio_device_gfx_plane_info.</summary>
    public const uint VFIO_DEVICE_QUERY_GFX_PLANE = 0x3b72;

    /// <summary>Device request, argument the address of a dmabuf_id: returns a dma-buf descriptor.</summary>
    public const uint VFIO_DEVICE_GET_GFX_DMABUF = 0x3b73;

    /// <summary>Device request, argument vfio_device_ioeventfd.</summary>
    public const uint VFIO_DEVICE_IOEVENTFD = 0x3b74;

    /// <summary>Device request, argument vfio_device_feature and the feature's payload.</summary>
    public const uint VFIO_DEVICE_FEATURE = 0x3b75;

    /// <summary>Device cdev request, argument vfio_device_bind_iommufd.</summary>
    public const uint VFIO_DEVICE_BIND_IOMMUFD = 0x3b76;

    /// <summary>Device cdev request, argument vfio_device_attach_iommufd_pt.</summary>
    public const uint VFIO_DEVICE_ATTACH_IOMMUFD_PT = 0x3b77;

    /// <summary>Device cdev request, argument vfio_device_detach_iommufd_pt.</summary>
    public const uint VFIO_DEVICE_DETACH_IOMMUFD_PT = 0x3b78;

    /// <summary>Request on a migration data descriptor, argument vfio_precopy_info.</summary>
    public const uint VFIO_MIG_GET_PRECOPY_INFO = 0x3b79;

    /// <summary>Container request, argument vfio_iommu_type1_info.</summary>
    public const uint VFIO_IOMMU_GET_INFO = 0x3b70;

    /// <summary>Container request, argument vfio_iommu_type1_dma_map.</summary>
    public const uint VFIO_IOMMU_MAP_DMA = 0x3b71;

    /// <summary>Container request, argument vfio_iommu_type1_dma_unmap.</summary>
    public const uint VFIO_IOMMU_UNMAP_DMA = 0x3b72;

    /// <summary>Container request without argument; only the sPAPR IOMMU has it.</summary>
    public const uint VFIO_IOMMU_ENABLE = 0x3b73;

    /// <summary>Container request without argument; only the sPAPR IOMMU has it.</summary>
    public const uint VFIO_IOMMU_DISABLE = 0x3b74;

    /// <summary>Container request, argument vfio_iommu_type1_dirty_bitmap.</summary>
    public const uint VFIO_IOMMU_DIRTY_PAGES = 0x3b75;
}
