namespace IommuFd;

/// <summary>Guest memory that the hardware uses as a queue (IOMMUFD_OBJ_HW_QUEUE); the memory stays mapped as long as this.</summary>
public sealed class HardwareQueue : Resource
{
    private readonly VirtualIommu _iommu;

    internal HardwareQueue(VirtualIommu iommu, uint id)
        : base(iommu)
    {
        _iommu = iommu;
        Id = id;
    }

    /// <summary>The object id.</summary>
    public uint Id { get; }

    private protected override void Free() => _ = _iommu.Context.Destroy(Id);
}
