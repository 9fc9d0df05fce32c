using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>IOMMU_OPTION and IOMMU_IOAS_CHANGE_PROCESS.</summary>
public sealed unsafe partial class IommufdContext
{
    private int Option(ref Ucmd ucmd)
    {
        ref var cmd = ref ucmd.Command<iommu_option>();
        if (cmd.__reserved != 0)
        {
            return -Errno.EOPNOTSUPP;
        }

        var rc = (iommufd_option)cmd.option_id switch
        {
            iommufd_option.IOMMU_OPTION_RLIMIT_MODE => OptionRlimitMode(ref cmd, ucmd.User.Process),
            iommufd_option.IOMMU_OPTION_HUGE_PAGES => OptionHugePages(ref cmd),
            _ => -Errno.EOPNOTSUPP,
        };
        if (rc != 0)
        {
            return rc;
        }

        var value = cmd.val64;
        return ucmd.User.CopyTo(ucmd.Buffer + 16, &value, sizeof(ulong)) == 0 ? 0 : -Errno.EFAULT;
    }

    private int OptionRlimitMode(ref iommu_option cmd, SimulatedProcess process)
    {
        if (cmd.object_id != 0)
        {
            return -Errno.EOPNOTSUPP;
        }

        switch ((iommufd_option_ops)cmd.op)
        {
            case iommufd_option_ops.IOMMU_OPTION_OP_GET:
                cmd.val64 = _accountMode == AccountMode.Process ? 1UL : 0;
                return 0;
            case iommufd_option_ops.IOMMU_OPTION_OP_SET:
                if (!process.Capable(Capabilities.SysResource))
                {
                    return -Errno.EPERM;
                }

                lock (_objectsLock)
                {
                    if (_objects.Count != 0)
                    {
                        return -Errno.EBUSY;
                    }

                    if (cmd.val64 > 1)
                    {
                        return -Errno.EINVAL;
                    }

                    _accountMode = cmd.val64 == 1 ? AccountMode.Process : AccountMode.User;
                    return 0;
                }

            default:
                return -Errno.EOPNOTSUPP;
        }
    }

    private int OptionHugePages(ref iommu_option cmd)
    {
        if (GetIoas(cmd.object_id) is not { } ioas)
        {
            return -Errno.ENOENT;
        }

        var rc = 0;
        switch ((iommufd_option_ops)cmd.op)
        {
            case iommufd_option_ops.IOMMU_OPTION_OP_GET:
                cmd.val64 = ioas.Pagetable.LargePagesDisabled ? 0UL : 1;
                break;
            case iommufd_option_ops.IOMMU_OPTION_OP_SET when cmd.val64 == 0:
                rc = ioas.Pagetable.DisableLargePages();
                break;
            case iommufd_option_ops.IOMMU_OPTION_OP_SET when cmd.val64 == 1:
                ioas.Pagetable.EnableLargePages();
                break;
            case iommufd_option_ops.IOMMU_OPTION_OP_SET:
                rc = -Errno.EINVAL;
                break;
            default:
                rc = -Errno.EOPNOTSUPP;
                break;
        }

        PutObject(ioas);
        return rc;
    }
}
