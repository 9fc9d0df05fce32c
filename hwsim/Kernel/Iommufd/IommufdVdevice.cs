namespace IommuFd.HwSim.Kernel;

/// <summary>A device as a guest knows it (struct iommufd_vdevice): its id on a virtual IOMMU.</summary>
internal sealed class IommufdVdevice(IommufdViommu viommu, IommufdDevice device, ulong virtualId) : IommufdObject(IommufdObjectType.Vdevice)
{
    internal IommufdDevice Device { get; } = device;

    internal ulong VirtualId { get; } = virtualId;

    // The group's lock is held.
    internal override void Abort()
    {
        viommu.RemoveVdevice(this);
        viommu.DropUser();
        Device.Vdevice = null;
    }

    internal override void Destroy()
    {
        lock (Device.Group.Lock)
        {
            Abort();
        }

        // Until here the device could not go.
        IommufdContext.PutObject(Device.Object);
    }
}
