using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>VFIO_DEVICE_FEATURE: the head, and the features that VFIO itself serves for devices that can migrate or log their DMA.</summary>
internal static unsafe partial class VfioFeatures
{
    /// <summary>Runs a feature request.</summary>
    public static int Ioctl(VfioDevice device, ulong argument, IUserMemory user)
    {
        vfio_device_feature feature;
        uint head = (uint)sizeof(vfio_device_feature);
        if (user.CopyFrom(argument, &feature, head) < 0)
        {
            return -Errno.EFAULT;
        }

        const uint operations = Vfio.VFIO_DEVICE_FEATURE_SET | Vfio.VFIO_DEVICE_FEATURE_GET;
        const uint known = Vfio.VFIO_DEVICE_FEATURE_MASK | operations | Vfio.VFIO_DEVICE_FEATURE_PROBE;
        if (feature.argsz < head || (feature.flags & ~known) != 0
            || ((feature.flags & Vfio.VFIO_DEVICE_FEATURE_PROBE) == 0 && (feature.flags & operations) == operations))
        {
            return -Errno.EINVAL;
        }

        uint flags = feature.flags, size = feature.argsz - head;
        ulong data = argument + head;
        return (flags & Vfio.VFIO_DEVICE_FEATURE_MASK) switch
        {
            Vfio.VFIO_DEVICE_FEATURE_MIGRATION => Migration(device, flags, data, size, user),
            Vfio.VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE => MigrationState(device, flags, data, size, user),
            Vfio.VFIO_DEVICE_FEATURE_DMA_LOGGING_START => StartLog(device, flags, data, size, user),
            Vfio.VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP => StopLog(device, flags, size),
            Vfio.VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT => ReportLog(device, flags, data, size, user),
            Vfio.VFIO_DEVICE_FEATURE_MIG_DATA_SIZE => MigrationDataSize(device, flags, data, size, user),
            Vfio.VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2 => PrecopyInfoVersion2(device, flags, size),
            _ => device.Feature(flags, data, size, user),
        };
    }

    /// <summary>
    /// vfio_check_feature: is the operation one of <paramref name="supported"/>, and is the payload there? 1 when it is to be carried out, 0 for a
    /// probe that succeeds, or -EINVAL.
    /// </summary>
    public static int Check(uint flags, uint size, uint supported, uint minimum)
    {
        const uint operations = Vfio.VFIO_DEVICE_FEATURE_SET | Vfio.VFIO_DEVICE_FEATURE_GET;
        if ((flags & operations & ~supported) != 0)
        {
            return -Errno.EINVAL;
        }

        if ((flags & Vfio.VFIO_DEVICE_FEATURE_PROBE) != 0)
        {
            return 0;
        }

        // Without PROBE one of the two must be asked for.
        return (flags & operations) == 0 || size < minimum ? -Errno.EINVAL : 1;
    }
}
