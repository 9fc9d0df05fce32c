namespace IommuFd.Native.Uapi;

/// <summary>
/// Constants of the RFC v2 "/dev/iommu" proposal (July 2021) and of its first implementation (September 2021): types, bases and request numbers.
/// </summary>
/// <remarks>Neither was merged. Both numberings live side by side; "ours" marks what the proposal left open and this project decided.</remarks>
public static partial class Rfc
{
    /// <summary>Ioctl type byte of /dev/iommu, 0x3b, the same as VFIO's (September 2021).</summary>
    public const uint IOMMU_TYPE = ';';

    /// <summary>First command number of /dev/iommu, the same as VFIO's: only the file tells them apart (September 2021).</summary>
    public const uint IOMMU_BASE = 100;

    /// <summary>/dev/iommu request 0, argument an EXT_* number by value: returns 1 or 0.</summary>
    public const uint IOMMU_CHECK_EXTENSION = 0x3b64;

    /// <summary>/dev/iommu request 1, argument iommu_device_info.</summary>
    public const uint IOMMU_DEVICE_GET_INFO = 0x3b65;

    /// <summary>/dev/iommu request 2, argument iommu_ioasid_alloc or iommu_ioasid_alloc_attr: returns the IOASID.</summary>
    public const uint IOMMU_IOASID_ALLOC = 0x3b66;

    /// <summary>/dev/iommu request 3, argument the address of an IOASID (32-bit integer).</summary>
    public const uint IOMMU_IOASID_FREE = 0x3b67;

    /// <summary>/dev/iommu request 4, argument iommu_ioasid_dma_op and a vfio_iommu_type1_dma_map.</summary>
    public const uint IOMMU_MAP_DMA = 0x3b68;

    /// <summary>/dev/iommu request 5, argument iommu_ioasid_dma_op and a vfio_iommu_type1_dma_unmap.</summary>
    public const uint IOMMU_UNMAP_DMA = 0x3b69;

    /// <summary>/dev/iommu request 6, argument iommu_ioasid_invalidate.</summary>
    public const uint IOMMU_INVALIDATE_CACHE = 0x3b6a;

    /// <summary>/dev/iommu request 7 (ours), argument iommu_ioasid_fault_region.</summary>
    public const uint IOMMU_IOASID_FAULT_REGION = 0x3b6b;

    /// <summary>/dev/iommu request 8 (ours), argument iommu_ioasid_fault_completion.</summary>
    public const uint IOMMU_IOASID_FAULT_COMPLETE = 0x3b6c;

    /// <summary>/dev/iommu request 9 (ours), argument iommu_ioasid_dirty.</summary>
    public const uint IOMMU_IOASID_DIRTY = 0x3b6d;

    /// <summary>VFIO device request VFIO_BASE + 22, argument vfio_bind_iommu_fd.</summary>
    public const uint VFIO_BIND_IOMMU_FD = 0x3b7a;

    /// <summary>VFIO device request VFIO_BASE + 23, argument vfio_attach_ioasid.</summary>
    public const uint VFIO_ATTACH_IOASID = 0x3b7b;

    /// <summary>VFIO device request VFIO_BASE + 24, argument vfio_attach_ioasid.</summary>
    public const uint VFIO_DETACH_IOASID = 0x3b7c;

    /// <summary>VFIO device request VFIO_BASE + 19 (September 2021), argument vfio_device_iommu_bind_data.</summary>
    public const uint VFIO_DEVICE_BIND_IOMMUFD = 0x3b77;

    /// <summary>VFIO device request VFIO_BASE + 20 (September 2021), argument vfio_device_attach_ioasid.</summary>
    public const uint VFIO_DEVICE_ATTACH_IOASID = 0x3b78;

    /// <summary>VFIO device request VFIO_BASE + 21 (September 2021), argument vfio_device_attach_ioasid.</summary>
    public const uint VFIO_DEVICE_DETACH_IOASID = 0x3b79;

    /// <summary>Ioctl type byte of KVM.</summary>
    public const uint KVMIO = 0xae;

    /// <summary>KVM capability: PASIDs of CPU instructions are translated.</summary>
    public const uint KVM_CAP_PASID_TRANSLATION = 206;

    /// <summary>KVM VM request, argument kvm_pasid.</summary>
    public const uint KVM_MAP_PASID = 0xaef0;

    /// <summary>KVM VM request, argument kvm_pasid.</summary>
    public const uint KVM_UNMAP_PASID = 0xaef1;
}
