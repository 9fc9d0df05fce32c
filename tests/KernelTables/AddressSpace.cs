using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace KernelTables;

/// <summary>One I/O address space after the other, attached to the device. Only the wire is used, nothing of the library that is judged.</summary>
// SAFETY: every argument is a struct on this stack, of the size that its first field says.
internal sealed unsafe class AddressSpace : IDisposable
{
    private readonly LinuxKernel _kernel;
    private readonly int _iommu, _device;
    private uint _ioas;

    internal AddressSpace(LinuxKernel kernel, string device)
    {
        _kernel = kernel;
        _iommu = Check(kernel.Open("/dev/iommu", Libc.O_RDWR, 0), "open /dev/iommu");
        _device = Check(kernel.Open(device, Libc.O_RDWR, 0), $"open {device}");
        var bind = new vfio_device_bind_iommufd { argsz = (uint)sizeof(vfio_device_bind_iommufd), iommufd = _iommu };
        Check(kernel.Ioctl(_device, Vfio.VFIO_DEVICE_BIND_IOMMUFD, (nint)(&bind)), "VFIO_DEVICE_BIND_IOMMUFD");
    }

    internal void Begin()
    {
        var old = _ioas;
        var alloc = new iommu_ioas_alloc { size = (uint)sizeof(iommu_ioas_alloc) };
        Check(_kernel.Ioctl(_iommu, Iommufd.IOMMU_IOAS_ALLOC, (nint)(&alloc)), "IOMMU_IOAS_ALLOC");
        _ioas = alloc.out_ioas_id;
        var attach = new vfio_device_attach_iommufd_pt { argsz = 12, pt_id = _ioas };
        Check(_kernel.Ioctl(_device, Vfio.VFIO_DEVICE_ATTACH_IOMMUFD_PT, (nint)(&attach)), "VFIO_DEVICE_ATTACH_IOMMUFD_PT");
        if (old == 0)
            return;
        var destroy = new iommu_destroy { size = (uint)sizeof(iommu_destroy), id = old };
        Check(_kernel.Ioctl(_iommu, Iommufd.IOMMU_DESTROY, (nint)(&destroy)), "IOMMU_DESTROY");
    }

    internal int Map(ulong address, ulong length, ulong iova, uint flags)
    {
        var map = new iommu_ioas_map
        {
            size = (uint)sizeof(iommu_ioas_map),
            flags = flags | (uint)iommufd_ioas_map_flags.IOMMU_IOAS_MAP_FIXED_IOVA,
            ioas_id = _ioas,
            user_va = address,
            length = length,
            iova = iova,
        };
        return _kernel.Ioctl(_iommu, Iommufd.IOMMU_IOAS_MAP, (nint)(&map));
    }

    internal int Unmap(ulong iova, ulong length)
    {
        var unmap = new iommu_ioas_unmap { size = (uint)sizeof(iommu_ioas_unmap), ioas_id = _ioas, iova = iova, length = length };
        return _kernel.Ioctl(_iommu, Iommufd.IOMMU_IOAS_UNMAP, (nint)(&unmap));
    }

    public void Dispose()
    {
        _ = _kernel.Close(_device);
        _ = _kernel.Close(_iommu);
    }

    private static int Check(int result, string what) =>
        result >= 0 ? result : throw new InvalidOperationException($"{what}: {Errno.Name(-result)}");
}
