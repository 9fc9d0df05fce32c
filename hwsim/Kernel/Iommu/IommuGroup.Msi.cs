using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

// Interrupt messages where the platform translates them through the IOMMU (CONFIG_IRQ_MSI_IOMMU).
public sealed partial class IommuGroup
{
    private readonly List<ulong> _doorbells = [];

    /// <summary>iommu_dma_prepare_msi: makes a doorbell reachable for the group's devices before their interrupts are programmed.</summary>
    /// <param name="doorbell">Its physical address.</param>
    /// <param name="address">Where the devices find it: an IOVA of the window, or the physical address when they are not translated.</param>
    /// <returns>0; -EOPNOTSUPP while DMA is blocked; -ENOMEM; -EOVERFLOW beyond 64 pages in one iommufd.</returns>
    internal int PrepareMsi(ulong doorbell, out ulong address)
    {
        address = doorbell;
        lock (_mutex)
        {
            if (Domain is null or { Type: IommuDomainType.Identity })
            {
                return 0;
            }

            switch (Domain.Cookie)
            {
                case MsiCookie cookie:
                    if (!_doorbells.Contains(doorbell))
                    {
                        _doorbells.Add(doorbell);
                    }

                    return cookie.Map(doorbell, out address);
                case HwPagetable hwpt:
                    return _pasids.GetValueOrDefault(NoPasid) is IommufdAttachHandle handle
                        ? handle.Device.PrepareMsi(hwpt.Paging, doorbell, ref address)
                        : 0;
                default:
                    return -Errno.EOPNOTSUPP;
            }
        }
    }

    /// <summary>
    /// Maps the doorbells that the group's devices use into a domain that they are about to get: a /dev/iommu of the proposal changes domains under
    /// open devices.
    /// </summary>
    internal int InstallMsi(IommuDomain domain)
    {
        lock (_mutex)
        {
            int error = 0;
            for (int i = 0; i < _doorbells.Count && error == 0; i++)
            {
                error = (domain.Cookie as MsiCookie)?.Map(_doorbells[i], out _) ?? 0;
            }

            return error;
        }
    }
}
