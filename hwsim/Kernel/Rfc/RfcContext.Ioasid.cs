using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>The life of I/O address spaces: IOMMU_IOASID_ALLOC and IOMMU_IOASID_FREE.</summary>
internal sealed unsafe partial class RfcContext
{
    private int IoasidAlloc(ulong argument, IUserMemory user)
    {
        uint size;
        if (user.CopyFrom(argument, &size, sizeof(uint)) < 0)
        {
            return -Errno.EFAULT;
        }

        // The struct of September 2021, or ours that begins the same way.
        iommu_ioasid_alloc_attr attributes;
        int error;
        if (size < (uint)sizeof(iommu_ioasid_alloc_attr))
        {
            error = CopyArgument(argument, user, out iommu_ioasid_alloc shorter);
            attributes = new iommu_ioasid_alloc_attr { flags = shorter.flags, type = shorter.type, addr_width = shorter.addr_width, parent = Rfc.IOMMU_IOASID_NO_PARENT };
            if (error == 0 && shorter.flags != Rfc.IOMMU_IOASID_ENFORCE_SNOOP)
            {
                return -Errno.EINVAL;
            }
        }
        else
        {
            error = CopyArgument(argument, user, out attributes);
        }

        if (error < 0)
        {
            return error;
        }

        error = Make(attributes, out RfcIoasid? made);
        if (error < 0)
        {
            return error;
        }

        int id = 0;
        while (_ioasids.ContainsKey(id))
        {
            id++;
        }

        made!.Id = id;
        made.Parent?.Children.Add(made);
        _ioasids.Add(id, made);
        return id;
    }

    private int Make(in iommu_ioasid_alloc_attr attributes, out RfcIoasid? made)
    {
        made = null;
        const uint known = Rfc.IOMMU_IOASID_ENFORCE_SNOOP | Rfc.IOMMU_IOASID_SNOOP_AUTO;
        if ((attributes.flags & ~known) != 0 || (attributes.flags & known) == known || attributes.addr_width is 0 or > 64)
        {
            return -Errno.EINVAL;
        }

        RfcIoasid? parent = null;
        if (attributes.parent != Rfc.IOMMU_IOASID_NO_PARENT)
        {
            parent = FindIoasid(attributes.parent);
            if (parent is null || parent.Depth >= RfcIoasid.MaximumDepth)
            {
                return -Errno.EINVAL;
            }
        }

        RfcSnoop snoop = (attributes.flags & Rfc.IOMMU_IOASID_ENFORCE_SNOOP) != 0 ? RfcSnoop.Enforced
            : (attributes.flags & Rfc.IOMMU_IOASID_SNOOP_AUTO) != 0 ? RfcSnoop.Auto : RfcSnoop.Disabled;
        switch (attributes.type)
        {
            case Rfc.IOMMU_IOASID_TYPE_KERNEL_TYPE1V2:
                if (attributes.user_pgtable != 0 || attributes.user_pasid_table != 0 || attributes.format != 0 || attributes.addr != 0)
                {
                    return -Errno.EINVAL;
                }

                made = parent switch
                {
                    null => new RfcRootIoasid(this, attributes.addr_width, snoop),
                    RfcKernelIoasid kernel => new RfcShadowIoasid(this, kernel, attributes.addr_width, snoop),
                    _ => null,
                };
                return made is null ? -Errno.EINVAL : 0;
            default:
                return -Errno.EINVAL;
        }
    }

    private int IoasidFree(ulong argument, IUserMemory user)
    {
        int id;
        if (user.CopyFrom(argument, &id, sizeof(int)) < 0)
        {
            return -Errno.EFAULT;
        }

        if (FindIoasid(id) is not { } ioasid)
        {
            return -Errno.EINVAL;
        }

        if (ioasid.Attachments != 0 || ioasid.Children.Count != 0)
        {
            return -Errno.EBUSY;
        }

        _ioasids.Remove(id);
        ioasid.Free();
        return 0;
    }
}
