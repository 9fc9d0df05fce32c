namespace IommuFd;

/// <summary>A device as a virtual IOMMU numbers it (IOMMUFD_OBJ_VDEVICE).</summary>
public sealed class VirtualDevice : Resource
{
    private readonly VirtualIommu _iommu;

    internal VirtualDevice(VirtualIommu iommu, uint id, uint deviceId, ulong virtualId)
        : base(iommu)
    {
        _iommu = iommu;
        Id = id;
        DeviceId = deviceId;
        VirtualId = virtualId;
    }

    /// <summary>The object id.</summary>
    public uint Id { get; }

    /// <summary>The context's id of the device.</summary>
    public uint DeviceId { get; }

    /// <summary>The device's number in the virtual IOMMU.</summary>
    public ulong VirtualId { get; }

    private protected override void Free() => _ = _iommu.Context.Destroy(Id);
}
