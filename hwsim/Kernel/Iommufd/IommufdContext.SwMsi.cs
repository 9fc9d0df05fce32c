using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>Interrupt doorbells in the domains of devices with an IOMMU_RESV_SW_MSI region (drivers/iommu/iommufd/driver.c).</summary>
public sealed partial class IommufdContext
{
    // A bit each in the bitmaps of tables and groups.
    private const int MostSwMsiMaps = 64;

    private readonly Lock _swMsiLock = new();
    private readonly List<SwMsiMap> _swMsiMaps = [];

    /// <summary>
    /// One page of doorbells: it has the same IOVA in all tables of the file (struct iommufd_sw_msi_map). Its index in the list is its id.
    /// </summary>
    private readonly record struct SwMsiMap(ulong Start, ulong Address, ulong PageOffset)
    {
        public ulong Iova => Start + (PageOffset * IoptPages.PageSize);
    }

    /// <summary>iommufd_sw_msi: the page is in the table now, and the group needs it in every table that it gets.</summary>
    /// <returns>0, -ENOMEM, or -EOVERFLOW when the file has 64 pages.</returns>
    internal int SwMsi(IommufdGroup group, HwptPaging hwpt, ulong doorbell, ref ulong address)
    {
        if (group.SwMsiStart is not { } start)
        {
            return 0;
        }

        lock (_swMsiLock)
        {
            int id = GetSwMsiMap(doorbell & ~(IoptPages.PageSize - 1), start);
            int error = id < 0 ? id : InstallSwMsi(hwpt, id);
            if (error == 0)
            {
                group.RequiredSwMsi |= 1UL << id;
                address = _swMsiMaps[id].Iova + (doorbell % IoptPages.PageSize);
            }

            return error;
        }
    }

    /// <summary>iommufd_group_setup_msi: the pages that the group's devices use, into a table that the group is about to get.</summary>
    internal int SetUpSwMsi(IommufdGroup group, HwptPaging hwpt)
    {
        if (group.SwMsiStart is not { } start)
        {
            return 0;
        }

        lock (_swMsiLock)
        {
            for (int id = 0; id < _swMsiMaps.Count; id++)
            {
                int error = _swMsiMaps[id].Start == start && (group.RequiredSwMsi >> id & 1) != 0 ? InstallSwMsi(hwpt, id) : 0;
                if (error != 0)
                {
                    return error;
                }
            }

            return 0;
        }
    }

    private int GetSwMsiMap(ulong page, ulong start)
    {
        ulong offset = 0;
        for (int id = 0; id < _swMsiMaps.Count; id++)
        {
            SwMsiMap map = _swMsiMaps[id];
            if (map.Start == start)
            {
                offset = ulong.Max(offset, map.PageOffset + 1);
                if (map.Address == page)
                {
                    return id;
                }
            }
        }

        if (_swMsiMaps.Count == MostSwMsiMaps)
        {
            return -Errno.EOVERFLOW;
        }

        _swMsiMaps.Add(new SwMsiMap(start, page, offset));
        return _swMsiMaps.Count - 1;
    }

    // iommufd_sw_msi_install
    private int InstallSwMsi(HwptPaging hwpt, int id)
    {
        SwMsiMap map = _swMsiMaps[id];
        if ((hwpt.PresentSwMsi >> id & 1) != 0)
        {
            return 0;
        }

        int error = hwpt.Domain!.Map(map.Iova, map.Address, IoptPages.PageSize, IommuProt.Read | IommuProt.Write | IommuProt.Mmio);
        if (error == 0)
        {
            hwpt.PresentSwMsi |= 1UL << id;
        }

        return error;
    }
}
