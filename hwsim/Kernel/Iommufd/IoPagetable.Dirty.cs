using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>Dirty tracking of one domain of the map.</summary>
internal sealed partial class IoPagetable
{
    /// <summary>iopt_set_dirty_tracking: switching on starts with everything clean.</summary>
    internal int SetDirtyTracking(IommuDomain domain, bool enable)
    {
        if (!domain.HasDirtyTracking)
        {
            return -Errno.EOPNOTSUPP;
        }

        lock (_lock)
        {
            if (enable)
            {
                for (var area = _areas.First(); area != null; area = _areas.Next(area))
                {
                    var rc = domain.ReadAndClearDirty(area.Iova, area.Length, noClear: false, dirty: null);
                    if (rc != 0)
                    {
                        return rc;
                    }
                }
            }

            return domain.SetDirtyTracking(enable);
        }
    }

    /// <summary>iopt_read_and_clear_dirty_data. A gap in the map ends the walk without an error.</summary>
    internal int ReadAndClearDirty(IommuDomain domain, ref iommu_hwpt_get_dirty_bitmap cmd, bool noClear, IUserMemory user)
    {
        var rc = CheckBitmapRange(ref cmd);
        if (rc != 0)
        {
            return rc;
        }

        if (!domain.HasDirtyTracking)
        {
            return -Errno.EOPNOTSUPP;
        }

        var bitmap = new DirtyBitmap(user, cmd.data, cmd.iova, cmd.length, cmd.page_size);
        lock (_lock)
        {
            var last = cmd.iova + cmd.length - 1;
            for (var at = cmd.iova; _areas.First(at, at) is { } area;)
            {
                var end = ulong.Min(last, area.LastIova);
                if (domain.ReadAndClearDirty(at, end - at + 1, noClear, bitmap) != 0 || end == last)
                {
                    break;
                }

                at = end + 1;
            }
        }

        return 0;
    }

    // iommufd_check_iova_range
    private int CheckBitmapRange(ref iommu_hwpt_get_dirty_bitmap cmd)
    {
        if (cmd.length == 0)
        {
            return -Errno.EINVAL;
        }

        var last = cmd.iova + cmd.length - 1;
        if (last < cmd.iova)
        {
            return -Errno.EOVERFLOW;
        }

        var mask = IovaAlignment - 1;
        if ((cmd.iova & mask) != 0 || ((last + 1) & mask) != 0 || cmd.page_size == 0)
        {
            return -Errno.EINVAL;
        }

        mask = cmd.page_size - 1;
        return (cmd.iova & mask) != 0 || ((last + 1) & mask) != 0 ? -Errno.EINVAL : 0;
    }
}
