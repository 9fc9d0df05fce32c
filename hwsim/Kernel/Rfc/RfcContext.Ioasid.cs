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
            attributes = new iommu_ioasid_alloc_attr { flags = shorter.flags, type = shorter.type, addr_width = shorter.addr_width,
                parent = Rfc.IOMMU_IOASID_NO_PARENT };
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
        const uint enforce = Rfc.IOMMU_IOASID_ENFORCE_SNOOP, auto = Rfc.IOMMU_IOASID_SNOOP_AUTO, fault = Rfc.IOMMU_IOASID_FAULT;
        if ((attributes.flags & ~(enforce | auto | fault)) != 0 || (attributes.flags & (enforce | auto)) == (enforce | auto)
            || attributes.addr_width == 0)
        {
            return -Errno.EINVAL;
        }

        RfcKernelIoasid? parent = null;
        if (attributes.parent != Rfc.IOMMU_IOASID_NO_PARENT)
        {
            // A child of a user's table could be walked by no unit, and merged by no kernel.
            parent = FindIoasid(attributes.parent) as RfcKernelIoasid;
            if (parent is null || parent.Depth >= RfcIoasid.MaximumDepth)
            {
                return -Errno.EINVAL;
            }
        }

        RfcSnoop snoop = (attributes.flags & enforce) != 0 ? RfcSnoop.Enforced : (attributes.flags & auto) != 0 ? RfcSnoop.Auto : RfcSnoop.Disabled;
        made = attributes.type switch
        {
            Rfc.IOMMU_IOASID_TYPE_KERNEL_TYPE1V2 => MakeKernel(attributes, parent, snoop),
            Rfc.IOMMU_IOASID_TYPE_USER when parent is not null => MakeUser(attributes, parent),
            _ => null,
        };
        if (made is null)
        {
            return -Errno.EINVAL;
        }

        if ((attributes.flags & fault) != 0)
        {
            made.TakeFaults();
        }

        return 0;
    }

    private RfcKernelIoasid? MakeKernel(in iommu_ioasid_alloc_attr attributes, RfcKernelIoasid? parent, RfcSnoop snoop)
    {
        bool isUser = attributes.user_pgtable != 0 || attributes.user_pasid_table != 0 || attributes.format != 0 || attributes.addr != 0;
        return isUser || attributes.addr_width > 64 ? null
            : parent is null
            ? new RfcRootIoasid(this, attributes.addr_width, snoop)
            : new RfcShadowIoasid(this, parent, attributes.addr_width, snoop);
    }

    // What a table's output is coherent with is its parent's policy.
    private RfcUserIoasid? MakeUser(in iommu_ioasid_alloc_attr attributes, RfcKernelIoasid parent)
    {
        const uint snoop = Rfc.IOMMU_IOASID_ENFORCE_SNOOP;
        bool isPage = attributes is { user_pgtable: 1, user_pasid_table: 0, addr_width: <= 64 },
            isPasid = attributes is { user_pgtable: 0, user_pasid_table: 1, addr_width: > 64 and <= 84 };
        return (attributes.flags & snoop) != 0 || isPage == isPasid || attributes.format == 0 || attributes.addr % IoptPages.PageSize != 0 ? null
            : new RfcUserIoasid(this, parent, new UserTable((iommu_ioasid_format)attributes.format, attributes.addr, attributes.addr_width), isPasid);
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
