using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>VFIO_IOMMU_GET_INFO of an iommufd that is used as a container, with its two capabilities.</summary>
public sealed unsafe partial class IommufdContext
{
    private int VfioGetInfo(ulong argument, IUserMemory user)
    {
        const int Minimum = 16;
        vfio_iommu_type1_info info = default;
        if (user.CopyFrom(argument, &info, Minimum) != 0)
        {
            return -Errno.EFAULT;
        }

        if (info.argsz < Minimum)
        {
            return -Errno.EINVAL;
        }

        if (GetCompatIoas() is not { } ioas)
        {
            return -Errno.ENODEV;
        }

        var size = nuint.Min(info.argsz, (nuint)sizeof(vfio_iommu_type1_info));
        int rc;
        lock (ioas.Pagetable.Lock)
        {
            rc = FillInfo(ioas.Pagetable, ref info, argument, user);
        }

        if (rc == 0 && user.CopyTo(argument, &info, size) != 0)
        {
            rc = -Errno.EFAULT;
        }

        PutObject(ioas);
        return rc;
    }

    // Capabilities that do not fit are left out; argsz says how much all of them take.
    private static int FillInfo(IoPagetable pagetable, ref vfio_iommu_type1_info info, ulong argument, IUserMemory user)
    {
        info.flags = Vfio.VFIO_IOMMU_INFO_PGSIZES | Vfio.VFIO_IOMMU_INFO_CAPS;
        info.iova_pgsizes = PageSizes(pagetable);
        info.cap_offset = 0;
        var argsz = info.argsz;
        var total = (uint)sizeof(vfio_iommu_type1_info);

        var available = argsz > total ? argsz - total : 0;
        var dma = new vfio_iommu_type1_info_dma_avail
        {
            header = { id = Vfio.VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, version = 1 },
            avail = uint.MaxValue,
        };
        var dmaSize = (uint)sizeof(vfio_iommu_type1_info_dma_avail);
        if (available >= dmaSize && user.CopyTo(argument + total, &dma, dmaSize) != 0)
        {
            return -Errno.EFAULT;
        }

        var dmaAt = argument + total;
        total += (dmaSize + 7) & ~7u;
        available = argsz > total ? argsz - total : 0;
        var ranges = FillRanges(pagetable, argument + total, available, user);
        if (ranges < 0)
        {
            return ranges;
        }

        if (argsz >= total && user.CopyTo(dmaAt + 4, &total, sizeof(uint)) != 0)
        {
            return -Errno.EFAULT;
        }

        total += (uint)ranges;
        info.cap_offset = argsz >= total ? (uint)sizeof(vfio_iommu_type1_info) : 0;
        info.argsz = total;
        return 0;
    }

    private static int FillRanges(IoPagetable pagetable, ulong at, uint available, IUserMemory user)
    {
        const uint Header = vfio_iommu_type1_info_cap_iova_range.iova_ranges_offset;
        var capability = new vfio_iommu_type1_info_cap_iova_range { header = { id = Vfio.VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, version = 1 } };
        ulong from = 0;
        while (pagetable.Reserved.NextHole(from, out var first, out var last))
        {
            var range = new vfio_iova_range { start = first, end = last };
            if (available >= Header + ((capability.nr_iovas + 1) * sizeof(vfio_iova_range)) &&
                user.CopyTo(at + Header + (capability.nr_iovas * (uint)sizeof(vfio_iova_range)), &range, (nuint)sizeof(vfio_iova_range)) != 0)
            {
                return -Errno.EFAULT;
            }

            capability.nr_iovas++;
            if (last == ulong.MaxValue)
            {
                break;
            }

            from = last + 1;
        }

        var size = Header + (capability.nr_iovas * (uint)sizeof(vfio_iova_range));
        return available >= size && user.CopyTo(at, &capability, Header) != 0 ? -Errno.EFAULT : (int)size;
    }

    // iommufd_get_pagesizes
    private static ulong PageSizes(IoPagetable pagetable)
    {
        const ulong InPage = IoptPages.PageSize - 1;
        var sizes = pagetable.CommonPageSizes;
        if ((sizes & InPage) != 0)
        {
            sizes = (sizes & ~InPage) | IoptPages.PageSize;
        }

        return ulong.Max(sizes, pagetable.IovaAlignment);
    }
}
