using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>An open /dev/vfio/vfio: groups whose devices share one I/O address space (struct vfio_container, drivers/vfio/container.c).</summary>
/// <remarks>It lives on without its file as long as a group is in it.</remarks>
internal sealed class VfioContainer(VfioCore core, PhysicalMemory memory) : SimulatedFile
{
    private readonly Lock _groupLock = new();
    private readonly List<VfioGroup> _groups = [];
    private VfioType1? _iommu;
    private bool _isNoIommu;
    private bool _hasNoIommuDriver;

    /// <inheritdoc/>
    public override int Ioctl(uint request, ulong argument, IUserMemory user)
    {
        switch (request)
        {
            case Vfio.VFIO_GET_API_VERSION:
                return Vfio.VFIO_API_VERSION;
            case Vfio.VFIO_CHECK_EXTENSION:
                return CheckExtension(argument);
            case Vfio.VFIO_SET_IOMMU:
                return SetIommu(argument);
            default:
                VfioType1? iommu;
                bool noIommu;
                lock (_groupLock)
                {
                    (iommu, noIommu) = (_iommu, _hasNoIommuDriver);
                }

                return iommu?.Ioctl(request, argument, user) ?? (noIommu ? -Errno.ENOTTY : -Errno.EINVAL);
        }
    }

    /// <summary>A group joins: it owns the group's DMA from now on. The group's lock is held.</summary>
    public int Attach(VfioGroup group)
    {
        bool noIommu = group.Type == VfioGroupType.NoIommu;
        if (noIommu && !core.Process.Capable(Capabilities.SysRawIO))
        {
            return -Errno.EPERM;
        }

        lock (_groupLock)
        {
            // Groups with and without an IOMMU do not mix.
            if (_groups.Count != 0 && _isNoIommu != noIommu)
            {
                return -Errno.EPERM;
            }

            if (group.Type == VfioGroupType.Iommu)
            {
                int error = group.IommuGroup!.ClaimGroupDmaOwner(group);
                if (error < 0)
                {
                    return error;
                }
            }

            if (_iommu is not null)
            {
                int error = _iommu.AttachGroup(group);
                if (error < 0)
                {
                    Release(group);
                    return error;
                }
            }

            group.Container = this;
            group.ContainerUsers = 1;
            _isNoIommu = noIommu;
            _groups.Add(group);
            return 0;
        }
    }

    /// <summary>A group leaves; with the last one the address space goes. The group's lock is held.</summary>
    public void Detach(VfioGroup group)
    {
        lock (_groupLock)
        {
            _iommu?.DetachGroup(group);
            Release(group);
            group.Container = null;
            group.ContainerUsers = 0;
            _groups.Remove(group);
            if (_groups.Count == 0)
            {
                _iommu?.Dispose();
                _iommu = null;
                _hasNoIommuDriver = false;
            }
        }
    }

    /// <summary>A device of the group is opened: -EINVAL before SET_IOMMU. The group's lock is held.</summary>
    public int Use(VfioGroup group)
    {
        lock (_groupLock)
        {
            if (_iommu is null && !_hasNoIommuDriver)
            {
                return -Errno.EINVAL;
            }
        }

        if (group.Type == VfioGroupType.NoIommu && !core.Process.Capable(Capabilities.SysRawIO))
        {
            return -Errno.EPERM;
        }

        group.ContainerUsers++;
        return 0;
    }

    private static void Release(VfioGroup group)
    {
        if (group.Type == VfioGroupType.Iommu)
        {
            group.IommuGroup!.ReleaseDmaOwner();
        }
    }

    private int CheckExtension(ulong extension)
    {
        lock (_groupLock)
        {
            if (_iommu is not null)
            {
                return _iommu.CheckExtension(extension);
            }

            // Without an IOMMU chosen every driver that the groups allow is asked.
            int noIommu = core.HasNoIommu && core.EnableUnsafeNoIommu && extension == Vfio.VFIO_NOIOMMU_IOMMU ? 1 : 0;
            return _hasNoIommuDriver || (_groups.Count != 0 && _isNoIommu) ? noIommu
                : VfioType1.Supports(extension) ? 1
                : _groups.Count == 0 ? noIommu : 0;
        }
    }

    private int SetIommu(ulong type)
    {
        lock (_groupLock)
        {
            if (_groups.Count == 0 || _iommu is not null || _hasNoIommuDriver)
            {
                return -Errno.EINVAL;
            }

            if (_isNoIommu)
            {
                if (type != Vfio.VFIO_NOIOMMU_IOMMU || !core.EnableUnsafeNoIommu)
                {
                    return -Errno.ENODEV;
                }

                _hasNoIommuDriver = true;
                return 0;
            }

            if (!VfioType1.Supports(type))
            {
                return -Errno.ENODEV;
            }

            // What is an extension but no type of IOMMU is refused when it is opened.
            if (type is not (Vfio.VFIO_TYPE1_IOMMU or Vfio.VFIO_TYPE1v2_IOMMU))
            {
                return -Errno.EINVAL;
            }

            var iommu = new VfioType1(core, memory, isVersion2: type == Vfio.VFIO_TYPE1v2_IOMMU);
            for (int i = 0; i < _groups.Count; i++)
            {
                int error = iommu.AttachGroup(_groups[i]);
                if (error < 0)
                {
                    while (--i >= 0)
                    {
                        iommu.DetachGroup(_groups[i]);
                    }

                    iommu.Dispose();
                    return error;
                }
            }

            _iommu = iommu;
            return 0;
        }
    }
}
