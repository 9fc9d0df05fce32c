using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>Binding devices (drivers/iommu/iommufd/device.c).</summary>
public sealed partial class IommufdContext
{
    private readonly Dictionary<IommuGroup, IommufdGroup> _groups = [];

    /// <summary>
    /// A driver with driver_managed_dma puts a device under this iommufd (iommufd_device_bind). DMA of its group is refused until something is
    /// attached.
    /// </summary>
    /// <param name="device">The device.</param>
    /// <param name="bound">The bound device, to be ended with <see cref="IommufdDevice.Unbind"/>.</param>
    /// <returns>
    /// 0; -EINVAL without cache-coherent DMA or with a range that must stay mapped 1:1; -EPERM when interrupts are not isolated (see
    /// <see cref="IommufdModule.AllowUnsafeInterrupts"/>) or somebody else has the group's DMA; -EBUSY when the group is not on its default domain;
    /// -ENODEV without a group.
    /// </returns>
    public int Bind(IommuDevice device, out IommufdDevice? bound)
    {
        bound = null;
        IommufdGroup? group = null;
        var rc = device.Ops == null ? BindNoIommu(out group) : BindIommu(device, out group);
        if (rc != 0)
        {
            return rc;
        }

        bound = new IommufdDevice(this, device, group!);
        Reserve(bound.Object);
        if (!device.IsMock)
        {
            Get();
        }

        // The driver is a user until it unbinds.
        bound.Object.AddUser();
        Publish(bound.Object);
        return 0;
    }

    /// <summary>True when a device of the group is bound here (iommufd_ctx_has_group).</summary>
    public bool HasGroup(IommuGroup group)
    {
        lock (_objectsLock)
        {
            for (uint id = 0; id < _objects.End; id++)
            {
                if (_objects[id] is IommufdDevice.DeviceObject bound && bound.Device.Group.Group == group)
                {
                    return true;
                }
            }

            return false;
        }
    }

    internal IommufdDevice? GetDevice(uint id) => (GetObject(id, IommufdObjectType.Device) as IommufdDevice.DeviceObject)?.Device;

    internal void PutGroup(IommufdGroup group)
    {
        lock (_groups)
        {
            if (--group.References == 0 && group.Group != null)
            {
                _groups.Remove(group.Group);
            }
        }
    }

    private int BindNoIommu(out IommufdGroup? group)
    {
        group = Module.HasNoIommu ? new IommufdGroup(this, null) : null;
        return group == null ? -Errno.EINVAL : 0;
    }

    private int BindIommu(IommuDevice device, out IommufdGroup? group)
    {
        group = null;
        if (!device.Capable(IommuCapability.CacheCoherency))
        {
            return -Errno.EINVAL;
        }

        if (device.Group is not { } iommuGroup)
        {
            return -Errno.ENODEV;
        }

        lock (_groups)
        {
            if (_groups.TryGetValue(iommuGroup, out group))
            {
                group.References++;
            }
            else
            {
                group = new IommufdGroup(this, iommuGroup);
                _groups.Add(iommuGroup, group);
            }
        }

        var rc = !device.IsMock && !iommuGroup.HasIsolatedMsi && !Module.AllowUnsafeInterrupts ? -Errno.EPERM : iommuGroup.ClaimDmaOwner(this);
        if (rc != 0)
        {
            PutGroup(group);
        }

        return rc;
    }
}
