namespace IommuFd.HwSim.Kernel;

/// <summary>
/// A device that a driver such as vfio-pci put under an iommufd (struct iommufd_device). The driver owns it: it attaches, replaces and detaches, and
/// ends it with <see cref="Unbind"/>.
/// </summary>
public sealed partial class IommufdDevice
{
    private readonly DeviceObject _object;

    internal IommufdDevice(IommufdContext context, IommuDevice device, IommufdGroup group)
    {
        Context = context;
        Device = device;
        Group = group;
        EnforcesCacheCoherency = device.Capable(IommuCapability.EnforceCacheCoherency);
        _object = new DeviceObject(this);
    }

    /// <summary>The device's id in its iommufd (out_devid of VFIO_DEVICE_BIND_IOMMUFD).</summary>
    public uint Id => _object.Id;

    /// <summary>The iommufd.</summary>
    public IommufdContext Context { get; }

    /// <summary>The device.</summary>
    public IommuDevice Device { get; }

    internal IommufdGroup Group { get; }

    internal bool EnforcesCacheCoherency { get; }

    internal IommufdObject Object => _object;

    /// <summary>True for a device without an IOMMU.</summary>
    internal bool IsNoIommu => Device.Ops == null;

    /// <summary>Its virtual device, of which there is at most one.</summary>
    internal IommufdObject? Vdevice { get; set; }

    /// <summary>True once the driver let go: no virtual device can be made any more.</summary>
    internal bool IsGoing { get; private set; }

    /// <summary>
    /// The driver is done with the device, which is detached already (iommufd_device_unbind). Waits for commands that use it. DMA goes back to the
    /// host when no other device of the group is bound.
    /// </summary>
    public void Unbind() => Context.DestroyOwned(_object);

    private void RemoveVdevice()
    {
        IommufdObject? vdevice;
        lock (Group.Lock)
        {
            IsGoing = true;
            vdevice = Vdevice;
            if (vdevice == null || !Context.TryAddUser(vdevice))
            {
                return;
            }
        }

        Context.DestroyOwned(vdevice, tombstone: true);
    }

    /// <summary>The id in the table of objects.</summary>
    internal sealed class DeviceObject(IommufdDevice device) : IommufdObject(IommufdObjectType.Device)
    {
        internal IommufdDevice Device { get; } = device;

        internal override void PreDestroy() => Device.RemoveVdevice();

        internal override void Destroy()
        {
            if (!Device.IsNoIommu)
            {
                Device.Group.Group!.ReleaseDmaOwner();
            }

            Device.Context.PutGroup(Device.Group);
            if (!Device.Device.IsMock)
            {
                Device.Context.Put();
            }
        }
    }
}
