using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>VFIO_DEVICE_FEATURE: the head, and the features that VFIO itself serves for devices that can migrate or log their DMA.</summary>
internal static unsafe class VfioFeatures
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

        return device.Feature(feature.flags, argument + head, feature.argsz - head, user);
    }

    /// <summary>
    /// vfio_check_feature: is the operation one of <paramref name="supported"/>, and is the payload there? 1 when it is to be carried out, 0 for a probe that
    /// succeeds, or -EINVAL.
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
