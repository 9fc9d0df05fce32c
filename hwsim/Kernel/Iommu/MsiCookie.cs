using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// The pages of interrupt doorbells in a domain whose owner left a window for them (struct iommu_dma_msi_cookie, iommu_get_msi_cookie).
/// </summary>
/// <param name="domain">The domain.</param>
/// <param name="window">First IOVA of the window.</param>
internal sealed class MsiCookie(IommuDomain domain, ulong window)
{
    private const ulong PageSize = 4096;
    private readonly List<ulong> _pages = [];

    /// <summary>Gives a domain that devices with an IOMMU_RESV_SW_MSI region use its pages.</summary>
    public static void Give(IommuDomain domain, IommuDevice device)
    {
        if (device.SoftwareMsi is { } window)
        {
            domain.Cookie ??= new MsiCookie(domain, window);
        }
    }

    /// <summary>
    /// iommu_dma_get_msi_page: the IOVA of a doorbell, which is mapped now; pages are taken one after the other and stay as long as the domain.
    /// </summary>
    /// <returns>0, or -ENOMEM.</returns>
    public int Map(ulong doorbell, out ulong iova)
    {
        ulong page = doorbell & ~(PageSize - 1);
        lock (_pages)
        {
            int index = _pages.IndexOf(page);
            if (index < 0)
            {
                index = _pages.Count;
                if (domain.Map(window + ((ulong)index * PageSize), page, PageSize, IommuProt.Write | IommuProt.Mmio) != 0)
                {
                    iova = 0;
                    return -Errno.ENOMEM;
                }

                _pages.Add(page);
            }

            iova = window + ((ulong)index * PageSize) + (doorbell % PageSize);
            return 0;
        }
    }
}
