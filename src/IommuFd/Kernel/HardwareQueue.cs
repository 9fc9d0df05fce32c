namespace IommuFd;

/// <summary>Guest memory that the hardware uses as a queue (IOMMUFD_OBJ_HW_QUEUE); the memory stays mapped as long as this.</summary>
public sealed class HardwareQueue : Resource
{
    private readonly VirtualIommu _iommu;

    /// <summary>A queue is kept by the one with the next index: hardware that chains them destroys them backwards only.</summary>
    internal HardwareQueue(VirtualIommu iommu, HardwareQueue? before, uint id)
        : base(iommu, before)
    {
        _iommu = iommu;
        Id = id;
    }

    /// <summary>The object id.</summary>
    public uint Id { get; }

    private protected override void Free() => _ = _iommu.Context.Destroy(Id);
}
