using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

internal static unsafe partial class VfioFeatures
{
    private static int Migration(VfioDevice device, uint flags, ulong data, uint size, IUserMemory user)
    {
        if (device is not IVfioMigration migration)
        {
            return -Errno.ENOTTY;
        }

        int check = Check(flags, size, Vfio.VFIO_DEVICE_FEATURE_GET, (uint)sizeof(vfio_device_feature_migration));
        vfio_device_feature_migration answer = new() { flags = migration.MigrationFlags };
        return check != 1 ? check : user.CopyTo(data, &answer, (nuint)sizeof(vfio_device_feature_migration)) < 0 ? -Errno.EFAULT : 0;
    }

    private static int MigrationState(VfioDevice device, uint flags, ulong data, uint size, IUserMemory user)
    {
        if (device is not IVfioMigration migration)
        {
            return -Errno.ENOTTY;
        }

        nuint length = (nuint)sizeof(vfio_device_feature_mig_state);
        int check = Check(flags, size, Vfio.VFIO_DEVICE_FEATURE_GET | Vfio.VFIO_DEVICE_FEATURE_SET, (uint)length);
        if (check != 1)
        {
            return check;
        }

        vfio_device_feature_mig_state state;
        if (user.CopyFrom(data, &state, length) < 0)
        {
            return -Errno.EFAULT;
        }

        int result = 0;
        SimulatedFile? stream = null;
        if ((flags & Vfio.VFIO_DEVICE_FEATURE_GET) != 0)
        {
            state.device_state = (uint)migration.MigrationState;
        }
        else
        {
            result = migration.SetMigrationState((vfio_device_mig_state)state.device_state, out stream);
        }

        // Whether the answer can be written is known before there is a descriptor to take back; the new state stays.
        state.data_fd = -1;
        if (user.CopyTo(data, &state, length) < 0)
        {
            stream?.Put();
            return -Errno.EFAULT;
        }

        if (stream is not null)
        {
            int descriptor = device.Core.Process.InstallFile(stream);
            if (descriptor < 0)
            {
                stream.Put();
                return descriptor;
            }

            state.data_fd = descriptor;
            _ = user.CopyTo(data, &state, length);
        }

        return result;
    }

    private static int MigrationDataSize(VfioDevice device, uint flags, ulong data, uint size, IUserMemory user)
    {
        if (device is not IVfioMigration migration)
        {
            return -Errno.ENOTTY;
        }

        int check = Check(flags, size, Vfio.VFIO_DEVICE_FEATURE_GET, (uint)sizeof(vfio_device_feature_mig_data_size));
        if (check != 1)
        {
            return check;
        }

        vfio_device_feature_mig_data_size answer = new() { stop_copy_length = migration.StopCopyLength };
        return user.CopyTo(data, &answer, (nuint)sizeof(vfio_device_feature_mig_data_size)) < 0 ? -Errno.EFAULT : 0;
    }

    private static int PrecopyInfoVersion2(VfioDevice device, uint flags, uint size)
    {
        if (device is not IVfioMigration migration || (migration.MigrationFlags & Vfio.VFIO_MIGRATION_PRE_COPY) == 0)
        {
            return -Errno.EINVAL;
        }

        int check = Check(flags, size, Vfio.VFIO_DEVICE_FEATURE_SET, 0);
        migration.PrecopyInfoVersion2 |= check == 1;
        return Math.Min(check, 0);
    }

    private static int StartLog(VfioDevice device, uint flags, ulong data, uint size, IUserMemory user)
    {
        if (device is not IVfioDmaLog log)
        {
            return -Errno.ENOTTY;
        }

        nuint length = (nuint)sizeof(vfio_device_feature_dma_logging_control);
        int check = Check(flags, size, Vfio.VFIO_DEVICE_FEATURE_SET, (uint)length);
        if (check != 1)
        {
            return check;
        }

        vfio_device_feature_dma_logging_control control;
        if (user.CopyFrom(data, &control, length) < 0)
        {
            return -Errno.EFAULT;
        }

        // As many ranges as fit into a page.
        if (control.num_ranges == 0 || control.num_ranges > 4096 / sizeof(vfio_device_feature_dma_logging_range))
        {
            return control.num_ranges == 0 ? -Errno.EINVAL : -Errno.E2BIG;
        }

        int error = CopyRanges(control, user, out List<(ulong First, ulong Last)> ranges);
        if (error < 0)
        {
            return error;
        }

        ulong pageSize = control.page_size;
        error = log.StartLog(ranges, ref pageSize);
        if (error < 0)
        {
            return error;
        }

        control.page_size = pageSize;
        if (user.CopyTo(data, &control, length) < 0)
        {
            _ = log.StopLog();
            return -Errno.EFAULT;
        }

        return 0;
    }

    private static int CopyRanges(in vfio_device_feature_dma_logging_control control, IUserMemory user, out List<(ulong First, ulong Last)> ranges)
    {
        ranges = [];
        ulong mask = control.page_size - 1;
        for (uint i = 0; i < control.num_ranges; i++)
        {
            vfio_device_feature_dma_logging_range range;
            ulong at = control.ranges + (i * (ulong)sizeof(vfio_device_feature_dma_logging_range));
            if (user.CopyFrom(at, &range, (nuint)sizeof(vfio_device_feature_dma_logging_range)) < 0)
            {
                return -Errno.EFAULT;
            }

            if (((range.iova | range.length) & mask) != 0)
            {
                return -Errno.EINVAL;
            }

            if (range.iova + range.length < range.iova)
            {
                return -Errno.EOVERFLOW;
            }

            ulong first = range.iova, last = range.iova + range.length - 1;
            if (ranges.Exists(other => first <= other.Last && last >= other.First))
            {
                return -Errno.EINVAL;
            }

            ranges.Add((first, last));
        }

        return 0;
    }

    private static int StopLog(VfioDevice device, uint flags, uint size)
    {
        if (device is not IVfioDmaLog log)
        {
            return -Errno.ENOTTY;
        }

        int check = Check(flags, size, Vfio.VFIO_DEVICE_FEATURE_SET, 0);
        return check != 1 ? check : log.StopLog();
    }

    private static int ReportLog(VfioDevice device, uint flags, ulong data, uint size, IUserMemory user)
    {
        if (device is not IVfioDmaLog log)
        {
            return -Errno.ENOTTY;
        }

        nuint length = (nuint)sizeof(vfio_device_feature_dma_logging_report);
        int check = Check(flags, size, Vfio.VFIO_DEVICE_FEATURE_GET, (uint)length);
        if (check != 1)
        {
            return check;
        }

        vfio_device_feature_dma_logging_report report;
        if (user.CopyFrom(data, &report, length) < 0)
        {
            return -Errno.EFAULT;
        }

        if (report.page_size < 4096 || !ulong.IsPow2(report.page_size))
        {
            return -Errno.EINVAL;
        }

        if (report.iova + report.length < report.iova)
        {
            return -Errno.EOVERFLOW;
        }

        ulong iova = report.iova, page = report.page_size, bitmap = report.bitmap;
        int error = 0;
        int result = log.ReadLog(iova, report.length, (first, last) =>
        {
            for (ulong bit = (first - iova) / page; bit <= (last - iova) / page && error == 0; bit++)
            {
                error = SetBit(bitmap, bit, user);
            }
        });
        return result < 0 ? result : error;
    }

    private static int SetBit(ulong bitmap, ulong bit, IUserMemory user)
    {
        byte value;
        ulong at = bitmap + (bit / 8);
        if (user.CopyFrom(at, &value, 1) < 0)
        {
            return -Errno.EFAULT;
        }

        value |= (byte)(1 << (int)(bit % 8));
        return user.CopyTo(at, &value, 1) < 0 ? -Errno.EFAULT : 0;
    }
}
