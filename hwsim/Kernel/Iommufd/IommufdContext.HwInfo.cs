using System.Numerics;
using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>IOMMU_GET_HW_INFO.</summary>
public sealed unsafe partial class IommufdContext
{
    private int GetHwInfo(ref Ucmd ucmd)
    {
        ref var cmd = ref ucmd.Command<iommu_hw_info>();
        const uint InputType = (uint)iommufd_hw_info_flags.IOMMU_HW_INFO_FLAG_INPUT_TYPE;
        if ((cmd.flags & ~InputType) != 0 || cmd.__reserved[0] != 0 || cmd.__reserved[1] != 0 || cmd.__reserved[2] != 0)
        {
            return -Errno.EOPNOTSUPP;
        }

        if ((cmd.flags & InputType) == 0)
        {
            cmd.in_data_type = (uint)iommu_hw_info_type.IOMMU_HW_INFO_TYPE_DEFAULT;
        }

        if (GetDevice(cmd.dev_id) is not { } device)
        {
            return -Errno.ENOENT;
        }

        var rc = device.IsNoIommu ? -Errno.EOPNOTSUPP : GetHwInfo(ref ucmd, ref cmd, device.Device);
        PutObject(device.Object);
        return rc;
    }

    private static int GetHwInfo(ref Ucmd ucmd, ref iommu_hw_info cmd, IommuDevice device)
    {
        // Larger than every family's struct.
        const int Most = 128;
        var data = stackalloc byte[Most];
        uint have = 0;
        uint type = (uint)iommu_hw_info_type.IOMMU_HW_INFO_TYPE_NONE;
        if (device.Ops!.HasHardwareInfo)
        {
            type = cmd.in_data_type;
            var filled = device.Ops.HardwareInfo(device, ref type, new Span<byte>(data, Most));
            if (filled < 0)
            {
                return filled;
            }

            have = (uint)filled;
        }

        cmd.out_data_type = type;
        var copied = uint.Min(cmd.data_len, have);
        if (copied != 0 && ucmd.User.CopyTo(cmd.data_uptr, data, copied) != 0)
        {
            return -Errno.EFAULT;
        }

        // A buffer that is longer than what there is gets zeroes.
        if (copied < cmd.data_len && UserCopy.Clear(ucmd.User, cmd.data_uptr + copied, cmd.data_len - copied) != 0)
        {
            return -Errno.EFAULT;
        }

        cmd.data_len = have;
        var capabilities = default(iommufd_hw_capabilities);
        if (device.Capable(IommuCapability.DirtyTracking))
        {
            capabilities |= iommufd_hw_capabilities.IOMMU_HW_CAP_DIRTY_TRACKING;
        }

        if (!device.Capable(IommuCapability.PciAtsSupported))
        {
            capabilities |= iommufd_hw_capabilities.IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED;
        }

        cmd.out_max_pasid_log2 = 0;
        if (device.MaxPasids != 0)
        {
            cmd.out_max_pasid_log2 = (byte)BitOperations.Log2(device.MaxPasids);
            if (device.IsPci && device.PasidExecute)
            {
                capabilities |= iommufd_hw_capabilities.IOMMU_HW_CAP_PCI_PASID_EXEC;
            }

            if (device.IsPci && device.PasidPrivileged)
            {
                capabilities |= iommufd_hw_capabilities.IOMMU_HW_CAP_PCI_PASID_PRIV;
            }
        }

        cmd.out_capabilities = (ulong)capabilities;
        return ucmd.Respond<iommu_hw_info>();
    }
}
