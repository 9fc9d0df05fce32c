using IommuFd.Native.Uapi;
using static IommuFd.Native.IoctlFile;
using U = IommuFd.Native.Uapi.Rfc;

namespace IommuFd.Native;

public static partial class IoctlCommands
{
    /// <summary>The commands of the /dev/iommu proposal, in both numberings.</summary>
    public static IReadOnlyList<IoctlCommand> Rfc { get; } =
    [
        Plain(nameof(U.IOMMU_CHECK_EXTENSION), U.IOMMU_CHECK_EXTENSION, Iommu, null, IoctlPassing.Value),
        Pointer<iommu_device_info>(nameof(U.IOMMU_DEVICE_GET_INFO), U.IOMMU_DEVICE_GET_INFO, Iommu, null, 28),
        // Short form: September 2021. Long form (ours), told apart by argsz: iommu_ioasid_alloc_attr.
        Pointer<iommu_ioasid_alloc_attr>(nameof(U.IOMMU_IOASID_ALLOC), U.IOMMU_IOASID_ALLOC, Iommu, null, 16),
        Pointer<int>(nameof(U.IOMMU_IOASID_FREE), U.IOMMU_IOASID_FREE, Iommu, null),
        Pointer<iommu_ioasid_dma_map>(nameof(U.IOMMU_MAP_DMA), U.IOMMU_MAP_DMA, Iommu, null, 16),
        Pointer<iommu_ioasid_dma_unmap>(nameof(U.IOMMU_UNMAP_DMA), U.IOMMU_UNMAP_DMA, Iommu, null, 16),
        Pointer<iommu_ioasid_invalidate>(nameof(U.IOMMU_INVALIDATE_CACHE), U.IOMMU_INVALIDATE_CACHE, Iommu, null),
        Pointer<iommu_ioasid_fault_region>(nameof(U.IOMMU_IOASID_FAULT_REGION), U.IOMMU_IOASID_FAULT_REGION, Iommu, null),
        Pointer<iommu_ioasid_fault_completion>(nameof(U.IOMMU_IOASID_FAULT_COMPLETE), U.IOMMU_IOASID_FAULT_COMPLETE, Iommu, null),
        Pointer<iommu_ioasid_dirty>(nameof(U.IOMMU_IOASID_DIRTY), U.IOMMU_IOASID_DIRTY, Iommu, null),
        // Numbering of RFC v2, July 2021.
        Pointer<vfio_bind_iommu_fd>(nameof(U.VFIO_BIND_IOMMU_FD), U.VFIO_BIND_IOMMU_FD, VfioDevice, null),
        Pointer<vfio_attach_ioasid>(nameof(U.VFIO_ATTACH_IOASID), U.VFIO_ATTACH_IOASID, VfioDevice, null),
        Pointer<vfio_attach_ioasid>(nameof(U.VFIO_DETACH_IOASID), U.VFIO_DETACH_IOASID, VfioDevice, null),
        // Numbering of the first implementation, September 2021.
        Pointer<vfio_device_iommu_bind_data>(nameof(U.VFIO_DEVICE_BIND_IOMMUFD), U.VFIO_DEVICE_BIND_IOMMUFD, VfioDevice, null),
        Pointer<vfio_device_attach_ioasid>(nameof(U.VFIO_DEVICE_ATTACH_IOASID), U.VFIO_DEVICE_ATTACH_IOASID, VfioDevice, null),
        Pointer<vfio_device_attach_ioasid>(nameof(U.VFIO_DEVICE_DETACH_IOASID), U.VFIO_DEVICE_DETACH_IOASID, VfioDevice, null),
        Pointer<kvm_pasid>(nameof(U.KVM_MAP_PASID), U.KVM_MAP_PASID, KvmVm, null),
        Pointer<kvm_pasid>(nameof(U.KVM_UNMAP_PASID), U.KVM_UNMAP_PASID, KvmVm, null),
    ];
}
