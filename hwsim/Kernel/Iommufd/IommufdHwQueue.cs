namespace IommuFd.HwSim.Kernel;

/// <summary>Guest memory that the hardware uses as a queue (struct iommufd_hw_queue); it stays pinned and cannot be unmapped.</summary>
internal sealed class IommufdHwQueue(IommufdViommu viommu, ulong iova, ulong length) : IommufdObject(IommufdObjectType.HwQueue)
{
    /// <summary>The pin, once there is one.</summary>
    internal IommufdAccess? Access { get; set; }

    /// <summary>True once the hardware has the queue.</summary>
    internal bool IsInHardware { get; set; }

    /// <summary>First IOVA in the nesting parent.</summary>
    internal ulong Iova { get; } = iova;

    /// <summary>The pages' first IOVA and length.</summary>
    internal (ulong Iova, ulong Length) Pages
    {
        get
        {
            var first = Iova & ~(IoptPages.PageSize - 1);
            return (first, (Iova - first + length + IoptPages.PageSize - 1) & ~(IoptPages.PageSize - 1));
        }
    }

    internal override void Destroy()
    {
        if (IsInHardware)
        {
            viommu.HwQueueDestroy(this);
        }

        if (Access is not { } access)
        {
            return;
        }

        var pages = Pages;
        access.UnpinPages(pages.Iova, pages.Length);
        access.Detach();
        access.Destroy();
        viommu.DropUser();
    }
}
