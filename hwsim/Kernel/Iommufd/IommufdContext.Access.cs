namespace IommuFd.HwSim.Kernel;

public sealed partial class IommufdContext
{
    /// <summary>A driver of an emulated device makes an access (iommufd_access_create).</summary>
    /// <param name="pinsPages">True when the driver pins pages: IOVAs must then be page-aligned.</param>
    /// <param name="unmap">Told IOVA and length of what is being unmapped; the driver unpins before it returns. Called without locks of the address
    /// space.</param>
    public IommufdAccess CreateAccess(bool pinsPages, Action<ulong, ulong>? unmap)
    {
        Get();
        return Publish(new IommufdAccess(this, pinsPages ? IoptPages.PageSize : 1, unmap, isInternal: false));
    }

    /// <summary>iommufd_access_create_internal.</summary>
    internal IommufdAccess CreateInternalAccess() => Publish(new IommufdAccess(this, IoptPages.PageSize, null, isInternal: true));

    private IommufdAccess Publish(IommufdAccess access)
    {
        Reserve(access.Object);
        access.Object.AddUser();
        Publish(access.Object);
        return access;
    }
}
