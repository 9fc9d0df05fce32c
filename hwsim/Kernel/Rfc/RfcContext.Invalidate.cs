using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>IOMMU_INVALIDATE_CACHE: the user changed a table that it manages.</summary>
internal sealed partial class RfcContext
{
    private const uint AllCaches = Rfc.IOMMU_CACHE_INV_TYPE_IOTLB | Rfc.IOMMU_CACHE_INV_TYPE_DEV_IOTLB | Rfc.IOMMU_CACHE_INV_TYPE_PASID;

    private int InvalidateCache(ulong argument, IUserMemory user)
    {
        int error = CopyArgument(argument, user, out iommu_ioasid_invalidate request);
        if (error < 0)
        {
            return error;
        }

        const uint cookie = Rfc.IOMMU_IOASID_INVALIDATE_COOKIE, vpasid = Rfc.IOMMU_IOASID_INVALIDATE_VPASID, leaf = Rfc.IOMMU_IOASID_INVALIDATE_LEAF;
        if (FindIoasid(request.ioasid) is not RfcUserIoasid ioasid || (request.flags & ~(cookie | vpasid | leaf)) != 0
            || request.cache == 0 || (request.cache & ~CachesOf(request.granularity)) != 0)
        {
            return -Errno.EINVAL;
        }

        // A PASID means something in a table of PASIDs only, and must be said where one PASID is meant.
        bool hasPasid = (request.flags & vpasid) != 0;
        if (hasPasid != (ioasid.IsPasidTable && request.granularity != (uint)iommu_inv_granularity.IOMMU_INV_GRANU_DOMAIN))
        {
            return -Errno.EINVAL;
        }

        RfcDevice? device = null;
        if ((request.flags & cookie) != 0 && (device = FindDevice(request.cookie)) is null)
        {
            return -Errno.EINVAL;
        }

        ulong first = 0, last = ulong.MaxValue;
        if (request.granularity == (uint)iommu_inv_granularity.IOMMU_INV_GRANU_ADDR)
        {
            ulong bytes = unchecked(request.granule_size * request.nb_granules);
            (first, last) = (request.addr, unchecked(request.addr + bytes - 1));
            if (!ulong.IsPow2(request.granule_size) || request.granule_size < IoptPages.PageSize || request.nb_granules == 0
                || request.addr % request.granule_size != 0
                || bytes / request.granule_size != request.nb_granules || last < first)
            {
                return -Errno.EINVAL;
            }
        }

        ioasid.Invalidate(new UserTableChange(request.cache, device?.Iommu, hasPasid ? request.vpasid : null, first, last));
        return 0;
    }

    // The pairs that Linux 5.14 knows.
    private static uint CachesOf(uint granularity) => (iommu_inv_granularity)granularity switch
    {
        iommu_inv_granularity.IOMMU_INV_GRANU_DOMAIN => Rfc.IOMMU_CACHE_INV_TYPE_IOTLB | Rfc.IOMMU_CACHE_INV_TYPE_PASID,
        iommu_inv_granularity.IOMMU_INV_GRANU_PASID => AllCaches,
        iommu_inv_granularity.IOMMU_INV_GRANU_ADDR => Rfc.IOMMU_CACHE_INV_TYPE_IOTLB | Rfc.IOMMU_CACHE_INV_TYPE_DEV_IOTLB,
        _ => 0,
    };
}
