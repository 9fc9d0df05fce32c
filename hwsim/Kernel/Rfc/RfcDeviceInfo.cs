using System.Buffers.Binary;
using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>VFIO_DEVICE_GET_INFO of the proposal: what the device's driver says, and the PASID capability behind it.</summary>
internal static unsafe class RfcDeviceInfo
{
    /// <summary>The command.</summary>
    public static int Get(VfioDevice device, ulong argument, IUserMemory user)
    {
        int error = device.Ioctl(Vfio.VFIO_DEVICE_GET_INFO, argument, user);
        RfcPasidPolicy pasids = RfcPasidPolicy.Of(device);
        vfio_device_info info;
        if (error < 0 || !pasids.HasVpasids || user.CopyFrom(argument, &info, 8) < 0 || info.argsz < sizeof(vfio_device_info))
        {
            return error;
        }

        if (user.CopyFrom(argument, &info, (nuint)sizeof(vfio_device_info)) < 0)
        {
            return -Errno.EFAULT;
        }

        byte[] payload = new byte[8];
        uint flags = (pasids.IsDelegated ? Rfc.PASID_DELEGATED : 0) | (pasids.IsForCpu ? Rfc.PASID_CPU : 0)
            | (pasids.IsTranslatedByCpu ? Rfc.PASID_CPU_VIRT : 0);
        BinaryPrimitives.WriteUInt32LittleEndian(payload, flags);
        BinaryPrimitives.WriteUInt32LittleEndian(payload.AsSpan(4), pasids.Width);
        var capabilities = new List<byte[]>();
        InfoCapabilities.Add(capabilities, Rfc.VFIO_DEVICE_INFO_CAP_PASID, 1, payload);
        info.flags |= Vfio.VFIO_DEVICE_FLAGS_CAPS;
        error = InfoCapabilities.CopyTo(capabilities, argument, (uint)sizeof(vfio_device_info), ref info.argsz, ref info.cap_offset, user);
        return error < 0 ? error : user.CopyTo(argument, &info, (nuint)sizeof(vfio_device_info)) < 0 ? -Errno.EFAULT : 0;
    }
}
