namespace IommuFd.Native.Uapi;

/// <summary>Constants of linux/iommufd.h: the ioctl type, the command numbers and the request numbers of /dev/iommu.</summary>
/// <remarks>A request is _IO(IOMMUFD_TYPE, command): no size and no direction are encoded, the argument's first field carries its size.</remarks>
public static partial class Iommufd
{
    /// <summary>Ioctl type byte, 0x3b. VFIO uses the same one.</summary>
    public const uint IOMMUFD_TYPE = ';';

    /// <summary>First command number.</summary>
    public const uint IOMMUFD_CMD_BASE = 0x80;

    /// <summary>Command number of IOMMU_DESTROY.</summary>
    public const uint IOMMUFD_CMD_DESTROY = IOMMUFD_CMD_BASE;

    /// <summary>Command number of IOMMU_IOAS_ALLOC.</summary>
    public const uint IOMMUFD_CMD_IOAS_ALLOC = 0x81;

    /// <summary>Command number of IOMMU_IOAS_ALLOW_IOVAS.</summary>
    public const uint IOMMUFD_CMD_IOAS_ALLOW_IOVAS = 0x82;

    /// <summary>Command number of IOMMU_IOAS_COPY.</summary>
    public const uint IOMMUFD_CMD_IOAS_COPY = 0x83;

    /// <summary>Command number of IOMMU_IOAS_IOVA_RANGES.</summary>
    public const uint IOMMUFD_CMD_IOAS_IOVA_RANGES = 0x84;

    /// <summary>Command number of IOMMU_IOAS_MAP.</summary>
    public const uint IOMMUFD_CMD_IOAS_MAP = 0x85;

    /// <summary>Command number of IOMMU_IOAS_UNMAP.</summary>
    public const uint IOMMUFD_CMD_IOAS_UNMAP = 0x86;

    /// <summary>Command number of IOMMU_OPTION.</summary>
    public const uint IOMMUFD_CMD_OPTION = 0x87;

    /// <summary>Command number of IOMMU_VFIO_IOAS.</summary>
    public const uint IOMMUFD_CMD_VFIO_IOAS = 0x88;

    /// <summary>Command number of IOMMU_HWPT_ALLOC.</summary>
    public const uint IOMMUFD_CMD_HWPT_ALLOC = 0x89;

    /// <summary>Command number of IOMMU_GET_HW_INFO.</summary>
    public const uint IOMMUFD_CMD_GET_HW_INFO = 0x8a;

    /// <summary>Command number of IOMMU_HWPT_SET_DIRTY_TRACKING.</summary>
    public const uint IOMMUFD_CMD_HWPT_SET_DIRTY_TRACKING = 0x8b;

    /// <summary>Command number of IOMMU_HWPT_GET_DIRTY_BITMAP.</summary>
    public const uint IOMMUFD_CMD_HWPT_GET_DIRTY_BITMAP = 0x8c;

    /// <summary>Command number of IOMMU_HWPT_INVALIDATE.</summary>
    public const uint IOMMUFD_CMD_HWPT_INVALIDATE = 0x8d;

    /// <summary>Command number of IOMMU_FAULT_QUEUE_ALLOC.</summary>
    public const uint IOMMUFD_CMD_FAULT_QUEUE_ALLOC = 0x8e;

    /// <summary>Command number of IOMMU_IOAS_MAP_FILE.</summary>
    public const uint IOMMUFD_CMD_IOAS_MAP_FILE = 0x8f;

    /// <summary>Command number of IOMMU_VIOMMU_ALLOC.</summary>
    public const uint IOMMUFD_CMD_VIOMMU_ALLOC = 0x90;

    /// <summary>Command number of IOMMU_VDEVICE_ALLOC.</summary>
    public const uint IOMMUFD_CMD_VDEVICE_ALLOC = 0x91;

    /// <summary>Command number of IOMMU_IOAS_CHANGE_PROCESS.</summary>
    public const uint IOMMUFD_CMD_IOAS_CHANGE_PROCESS = 0x92;

    /// <summary>Command number of IOMMU_VEVENTQ_ALLOC.</summary>
    public const uint IOMMUFD_CMD_VEVENTQ_ALLOC = 0x93;

    /// <summary>Command number of IOMMU_HW_QUEUE_ALLOC.</summary>
    public const uint IOMMUFD_CMD_HW_QUEUE_ALLOC = 0x94;

    /// <summary>Command number of IOMMU_IOAS_NOIOMMU_GET_PA.</summary>
    public const uint IOMMUFD_CMD_IOAS_NOIOMMU_GET_PA = 0x95;

    /// <summary>Request: destroy an object; argument iommu_destroy.</summary>
    public const uint IOMMU_DESTROY = 0x3b80;

    /// <summary>Request: make an I/O address space; argument iommu_ioas_alloc.</summary>
    public const uint IOMMU_IOAS_ALLOC = 0x3b81;

    /// <summary>Request: promise IOVA ranges; argument iommu_ioas_allow_iovas.</summary>
    public const uint IOMMU_IOAS_ALLOW_IOVAS = 0x3b82;

    /// <summary>Request: copy a mapping between address spaces; argument iommu_ioas_copy.</summary>
    public const uint IOMMU_IOAS_COPY = 0x3b83;

    /// <summary>Request: read the permitted IOVA ranges; argument iommu_ioas_iova_ranges.</summary>
    public const uint IOMMU_IOAS_IOVA_RANGES = 0x3b84;

    /// <summary>Request: map process memory; argument iommu_ioas_map.</summary>
    public const uint IOMMU_IOAS_MAP = 0x3b85;

    /// <summary>Request: unmap; argument iommu_ioas_unmap.</summary>
    public const uint IOMMU_IOAS_UNMAP = 0x3b86;

    /// <summary>Request: read or write an option; argument iommu_option.</summary>
    public const uint IOMMU_OPTION = 0x3b87;

    /// <summary>Request: choose the address space of the VFIO container emulation; argument iommu_vfio_ioas.</summary>
    public const uint IOMMU_VFIO_IOAS = 0x3b88;

    /// <summary>Request: make a hardware page table; argument iommu_hwpt_alloc.</summary>
    public const uint IOMMU_HWPT_ALLOC = 0x3b89;

    /// <summary>Request: describe the IOMMU behind a device; argument iommu_hw_info.</summary>
    public const uint IOMMU_GET_HW_INFO = 0x3b8a;

    /// <summary>Request: start or stop dirty tracking; argument iommu_hwpt_set_dirty_tracking.</summary>
    public const uint IOMMU_HWPT_SET_DIRTY_TRACKING = 0x3b8b;

    /// <summary>Request: read dirty pages; argument iommu_hwpt_get_dirty_bitmap.</summary>
    public const uint IOMMU_HWPT_GET_DIRTY_BITMAP = 0x3b8c;

    /// <summary>Request: invalidate caches of a user-managed table; argument iommu_hwpt_invalidate.</summary>
    public const uint IOMMU_HWPT_INVALIDATE = 0x3b8d;

    /// <summary>Request: make a page-fault queue; argument iommu_fault_alloc.</summary>
    public const uint IOMMU_FAULT_QUEUE_ALLOC = 0x3b8e;

    /// <summary>Request: map a memfd or dma-buf; argument iommu_ioas_map_file.</summary>
    public const uint IOMMU_IOAS_MAP_FILE = 0x3b8f;

    /// <summary>Request: make a virtual IOMMU; argument iommu_viommu_alloc.</summary>
    public const uint IOMMU_VIOMMU_ALLOC = 0x3b90;

    /// <summary>Request: make a virtual device on a virtual IOMMU; argument iommu_vdevice_alloc.</summary>
    public const uint IOMMU_VDEVICE_ALLOC = 0x3b91;

    /// <summary>Request: move the locked-memory accounting to this process; argument iommu_ioas_change_process.</summary>
    public const uint IOMMU_IOAS_CHANGE_PROCESS = 0x3b92;

    /// <summary>Request: make a virtual event queue; argument iommu_veventq_alloc.</summary>
    public const uint IOMMU_VEVENTQ_ALLOC = 0x3b93;

    /// <summary>Request: give guest queue memory to the hardware; argument iommu_hw_queue_alloc.</summary>
    public const uint IOMMU_HW_QUEUE_ALLOC = 0x3b94;

    /// <summary>Request: physical address of an IOVA of a no-IOMMU address space; argument iommu_ioas_noiommu_get_pa.</summary>
    public const uint IOMMU_IOAS_NOIOMMU_GET_PA = 0x3b95;
}
