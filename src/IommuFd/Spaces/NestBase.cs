using IommuFd.Native.Uapi;

namespace IommuFd;

/// <summary>
/// What tables of the program are nested on, for one device: the parent's table in the format of its IOMMU, and where the IOMMU wants it a slice of
/// the IOMMU.
/// </summary>
internal sealed class NestBase(HwptPaging parent) : IDisposable
{
    private VirtualDevice? _device;

    internal HwptPaging Parent => parent;

    internal VirtualIommu? VirtualIommu { get; private set; }

    /// <summary>The device's number in the slice: a stream id.</summary>
    internal static uint VirtualId(BoundDevice device) => device.Address is { } address ? address.RequesterId : (uint)device.Cookie;

    internal void AddVirtualIommu(BoundDevice device, iommu_viommu_type type)
    {
        if (VirtualIommu is not null)
        {
            return;
        }

        VirtualIommu made = device.Context.AllocateVirtualIommu(device.DeviceId, parent, type);
        try
        {
            _device = made.AllocateVirtualDevice(device.DeviceId, VirtualId(device));
            VirtualIommu = made;
        }
        catch
        {
            made.Dispose();
            throw;
        }
    }

    public void Dispose()
    {
        _device?.Dispose();
        VirtualIommu?.Dispose();
        parent.Dispose();
    }
}
