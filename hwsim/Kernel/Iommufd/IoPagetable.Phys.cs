using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

internal sealed partial class IoPagetable
{
    /// <summary>
    /// iopt_get_phys: the physical address of an IOVA that a device without an IOMMU may use, and how far it is contiguous. -ENOENT where nothing is
    /// mapped, -EOPNOTSUPP when no such device is attached.
    /// </summary>
    internal int GetPhys(ulong iova, out ulong physical, ref ulong length)
    {
        physical = 0;
        lock (_lock)
        {
            if (_areas.First(iova, iova) is not { } area)
            {
                return -Errno.ENOENT;
            }

            if (area.Pages.IsRevoked)
            {
                return -Errno.EINVAL;
            }

            // The kernel looks at the domain that holds the area's pages, which is the oldest one.
            if (!area.IsFilled || _domains[0] is not NoIommuDomain domain)
            {
                return -Errno.EOPNOTSUPP;
            }

            physical = domain.IovaToPhys(iova);
            var have = ulong.Min(PageSize - (iova % PageSize), area.LastIova - iova + 1);
            var at = physical;
            while (iova < area.LastIova && have < length)
            {
                var next = iova + PageSize;
                if (next < iova || next > area.LastIova)
                {
                    break;
                }

                var nextPhysical = domain.IovaToPhys(next);
                if (nextPhysical == 0 || nextPhysical != at + PageSize)
                {
                    break;
                }

                iova = next;
                at = nextPhysical;
                have += PageSize;
            }

            length = ulong.Min(have, length);
            return 0;
        }
    }
}
